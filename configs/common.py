"""The base of every experiment: SCAM as published (ECCV 2022, section 4), and its baselines."""

from absl import flags
from ml_collections import ConfigDict

from scam_jax import models


def base(choices: str = "") -> ConfigDict:
    """Every key that a config has, at the published values for 256×256 images.

    Args:
      choices: what follows the colon in --config=configs/celeba.py:model=sean,discriminator=oasis.
        Of another model or discriminator, the config has the keys of that.

    Raises:
      IllegalFlagValueError: there is no such choice. (Of a ValueError the flag would print where
        it was raised.)
    """
    chosen = _parsed(choices)
    config = _scam()
    if "model" in chosen:
        _use_model(config, chosen["model"])
    if "discriminator" in chosen:
        _use_discriminator(config, chosen["discriminator"])
    return config


def _parsed(choices: str) -> dict[str, str]:
    """'model=sean,discriminator=oasis' by key."""
    possible = {"model": models.FAMILIES, "discriminator": models.DISCRIMINATORS}
    chosen = {}
    for choice in filter(None, choices.split(",")):
        key, _, value = choice.partition("=")
        if key not in possible:
            raise flags.IllegalFlagValueError(
                f"--config=FILE:{choice}: use {' or '.join(possible)}"
            )
        if value not in possible[key]:
            raise flags.IllegalFlagValueError(
                f"--config=FILE:{choice}: use {key}= one of {', '.join(possible[key])}"
            )
        chosen[key] = value
    return chosen


def _use_model(config: ConfigDict, name: str) -> None:
    """Makes `config` that of another family of models, trained as the authors trained baselines."""
    family = models.FAMILIES[name]
    for key in models.FAMILIES[config.model.family].shared:
        del config.model[key]
    config.model.family = name
    config.model.update(dict(family.shared))
    config.model.encoder = ConfigDict({"dtype": "", **family.encoder})
    config.model.generator = ConfigDict({"dtype": "", **family.generator})
    if name == "scam":
        return
    config.model.initialization = "xavier"
    config.model.discriminator.spectral_norm = True
    config.losses.gradient_normalization = False
    config.losses.l1 = 0.0
    config.losses.feature_matching = 10.0
    config.losses.kl = 0.05 if family.variational(config.model) else 0.0
    config.optimizer.b1 = 0.0
    config.optimizer.weight_decay = 0.0


def _use_discriminator(config: ConfigDict, kind: str) -> None:
    options = models.discriminator_options(kind)
    config.model.discriminator = ConfigDict({"dtype": "", "kind": kind, **options})
    if kind == "oasis":
        config.losses.gan_kind = "oasis"
        config.losses.gradient_normalization = False
        config.losses.feature_matching = 0.0


def _scam() -> ConfigDict:
    config = ConfigDict()
    # Weights, noise and the order of images all follow from it.
    config.seed = 0
    # Folder of the converted weights of frozen networks: VGG19 of the loss, those of evaluation.
    config.weights_directory = "weights"

    config.data = ConfigDict()
    # 'folder', 'celeba_mask_hq', 'celeba_mask_hq_sean', 'ade20k' or 'synthetic_people'.
    config.data.name = "folder"
    # The folder's place; of the others, where the prepared data set is put.
    config.data.directory = ""
    # Where an official download lies to be prepared; DIRECTORY/downloads/manual if empty.
    config.data.manual_dir = ""
    config.data.height = 256
    config.data.width = 256
    # Label numbers are 0 … num_labels - 1; 0 is the background.
    config.data.num_labels = 2
    # From the files' label numbers to these, see data/labels.py: '0|1,2,4|*' makes 1, 2 and 4
    # label 1 and all others label 2. Empty: as they are.
    config.data.label_map = ""
    # 'none', 'basic' or 'crop', see data/augment.py.
    config.data.augmentation = "none"
    # 'train', of which a part is held out for validation, or 'authors_train', the whole of it.
    config.data.train_split = "train"
    # Train without the files of a folder that cannot be read; they are counted and listed.
    config.data.skip_bad_files = False
    # Processes of each host that read ahead; with 0, threads do.
    config.data.num_workers = 0

    config.model = ConfigDict()
    # 'scam', or a baseline: 'spade', 'clade', 'sean', 'sean_clade', 'inade', 'groupdnet'. Chosen by
    # --config=configs/NAME.py:model=sean, for the model's other keys depend on it.
    config.model.family = "scam"
    # How weights start: 'pytorch', as PyTorch's layers do, or 'xavier', as the baselines do.
    config.model.initialization = "pytorch"
    config.model.latents_per_label = 8
    config.model.background_latents = 8
    config.model.latent_dim = 256
    config.model.attention_dim = 256
    # Compute type of all networks, 'float32' or 'bfloat16'; a network's own, where not empty, goes
    # before it. Parameters, softmax, norms, losses and the optimizers are float32.
    config.model.dtype = "float32"
    config.model.equalized = False
    config.model.encoder = ConfigDict()
    config.model.encoder.dtype = ""
    config.model.encoder.num_blocks = 7
    config.model.encoder.num_heads = 1
    config.model.encoder.position_dim = 40
    config.model.encoder.conv_features = 16
    config.model.encoder.use_self_attention = True
    config.model.encoder.image_conv = True
    config.model.encoder.reverse_conv = False
    config.model.encoder.use_vae = False
    # 'learned', 'fixed_random' or 'random'.
    config.model.encoder.latents = "learned"
    config.model.generator = ConfigDict()
    config.model.generator.dtype = ""
    config.model.generator.features = 64
    config.model.generator.num_up_layers = 6
    config.model.generator.num_heads = 1
    # 'duplex' or 'simplex'.
    config.model.generator.attention = "duplex"
    # 'skip' or 'resnet'.
    config.model.generator.architecture = "skip"
    # 'instance', 'layer' or 'batch'.
    config.model.generator.norm = "instance"
    config.model.generator.mask_adain_layers = 0
    config.model.generator.add_noise = True
    config.model.discriminator = ConfigDict()
    config.model.discriminator.dtype = ""
    # 'patchgan'; 'stylegan2' or 'oasis' by --config=configs/NAME.py:discriminator=oasis.
    config.model.discriminator.kind = "patchgan"
    config.model.discriminator.num_scales = 2
    config.model.discriminator.features = 64
    config.model.discriminator.num_layers = 4
    config.model.discriminator.spectral_norm = False

    # A loss's weight; 0 turns it off. `schedules` holds the weights that change during training:
    # `config.losses.schedules.gan = {"start": 0.0, "steps": 2600}` starts at 0 and ends at `gan`.
    # `gan` and `swapped` switch at that step, the others move there by equal factors.
    config.losses = ConfigDict()
    config.losses.schedules = ConfigDict()
    config.losses.gradient_normalization = True
    # 'hinge' or 'non_saturating'; 'oasis' with that discriminator.
    config.losses.gan_kind = "hinge"
    # Scale the GAN weight by the ratio of gradients at the last layer (Taming Transformers).
    config.losses.adaptive_gan = False
    config.losses.gan = 1.0
    # The GAN loss of images generated with another image's latents.
    config.losses.swapped = 0.0
    config.losses.l1 = 10.0
    config.losses.perceptual = 10.0
    config.losses.perceptual_dtype = ""
    config.losses.feature_matching = 0.0
    # A sum over so many images, however many a batch has: as on one of the authors' devices.
    config.losses.kl_images = 8
    config.losses.kl = 0.0
    config.losses.r1 = 0.0
    # R1 is added at every so many steps.
    config.losses.lazy_r1_step = 16

    config.optimizer = ConfigDict()
    config.optimizer.generator_learning_rate = 1e-4
    config.optimizer.discriminator_learning_rate = 4e-4
    # With the batch size, the rates grow by as much ('linear'), by its root ('sqrt') or not at all
    # ('none'); they are meant for batches of reference_batch_size.
    config.optimizer.rate_scaling = "none"
    config.optimizer.reference_batch_size = 32
    # Steps over which the rates rise from 0.
    config.optimizer.warmup_steps = 0
    config.optimizer.b1 = 0.9
    config.optimizer.b2 = 0.999
    config.optimizer.eps = 1e-8
    config.optimizer.weight_decay = 0.01
    # Sharpness-aware minimisation, adaptive: 0 is off, 0.5 the authors'. A step costs three times.
    config.optimizer.sam_rho = 0.0

    config.train = ConfigDict()
    # Images a step, over all devices.
    config.train.batch_size = 32
    # Each device takes its share of them in so many parts, one after the other: less memory.
    config.train.accumulation_steps = 1
    # Compute the generator's modulations anew in the backward pass: less memory, more arithmetic.
    config.train.rematerialize = False
    config.train.num_steps = 50_000
    # Of encoder and generator; evaluation and transfer use the average. 0 is off, as published.
    config.train.ema_decay = 0.0
    config.train.log_every = 100
    config.train.panel_every = 1000
    config.train.checkpoint_every = 1000
    config.train.keep_checkpoints = 2

    config.eval = ConfigDict()
    # In training, evaluate the validation split at every so many steps; 0 is never.
    config.eval.every = 5000
    # Of pairs and noise, in --mode=eval; the figures have their mean and deviation.
    config.eval.num_seeds = 3
    # Where statistics of real images are kept, for all runs to use.
    config.eval.statistics_directory = "statistics"

    # --mode=study trains and evaluates each variant with each seed from `seed` on.
    config.study = ConfigDict()
    config.study.num_seeds = 3
    # By name, what differs from this config.
    config.study.variants = ConfigDict(
        {
            "scam": {},
            "one_latent": {"model": {"latents_per_label": 1, "background_latents": 1}},
            "two_latents": {"model": {"latents_per_label": 2, "background_latents": 2}},
            "simplex": {"model": {"generator": {"attention": "simplex"}}},
            "no_self_attention": {"model": {"encoder": {"use_self_attention": False}}},
        }
    )
    return config
