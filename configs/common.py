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
    """Changes the model family, and trains baselines as the authors of SCAM trained them."""
    for key in models.FAMILIES[config.model.family].shared:
        del config.model[key]
    _set_family(config, name)
    if name == "scam":
        return
    config.model.initialization = "xavier"
    config.model.discriminator.spectral_norm = True
    config.losses.gradient_normalization = False
    config.losses.l1 = 0.0
    config.losses.feature_matching = 10.0
    config.losses.kl = 0.05 if models.FAMILIES[name].variational(config.model) else 0.0
    config.optimizer.b1 = 0.0
    config.optimizer.weight_decay = 0.0


def _use_discriminator(config: ConfigDict, kind: str) -> None:
    _set_discriminator(config, kind)
    if kind == "oasis":
        config.losses.gan_kind = "oasis"
        config.losses.gradient_normalization = False
        config.losses.feature_matching = 0.0


def _set_family(config: ConfigDict, name: str) -> None:
    """Gives `config.model` the keys of a family, with their published values."""
    family = models.FAMILIES[name]
    config.model.family = name
    config.model.update(family.shared)
    config.model.encoder = ConfigDict({"dtype": "", **family.encoder})
    config.model.generator = ConfigDict({"dtype": "", **family.generator})


def _set_discriminator(config: ConfigDict, kind: str) -> None:
    """Gives `config.model.discriminator` the keys of a kind, with their published values."""
    options = models.discriminator_options(kind)
    config.model.discriminator = ConfigDict({"dtype": "", "kind": kind, **options})


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
    # --config=configs/NAME.py:model=sean, because the keys of encoder and generator depend on it.
    # They and their published values are the fields of the modules, see scam_jax/models.
    config.model.family = "scam"
    # Initial weights: 'pytorch', as PyTorch's layers have them, or 'xavier', as the baselines do.
    config.model.initialization = "pytorch"
    # Compute type of all networks, 'float32' or 'bfloat16'. A network's own `dtype`, if not empty,
    # takes precedence. Parameters, softmax, norms, losses and optimizers are always float32.
    config.model.dtype = "float32"
    config.model.equalized = False
    _set_family(config, "scam")
    # 'patchgan'; 'stylegan2' or 'oasis' by --config=configs/NAME.py:discriminator=oasis.
    _set_discriminator(config, "patchgan")

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
