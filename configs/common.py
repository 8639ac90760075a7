"""The base of every config: SCAM as published (ECCV 2022, section 4), and its baselines."""

from collections.abc import Collection

from absl import flags
from ml_collections import ConfigDict

from scam_jax import models


def base(choices: str = "") -> ConfigDict:
    """Returns a config with all keys, at the published values for 256×256 images.

    Args:
      choices: selects another model or discriminator. It is the part after the colon in
        --config=configs/celeba.py:model=sean,discriminator=oasis. The selection determines the keys
        of the networks.

    Raises:
      IllegalFlagValueError: there is no such choice. (For a ValueError the flag would print a
        traceback.)
    """
    chosen = _parsed(choices)
    config = _scam()
    if "model" in chosen:
        _use_model(config, chosen["model"])
    if "discriminator" in chosen:
        _use_discriminator(config, chosen["discriminator"])
    if config.model.family != "scam":
        config.model.discriminator.spectral_norm = True
    return config


def _parsed(choices: str) -> dict[str, str]:
    """Parses choices such as 'model=sean,discriminator=oasis' to values by key."""
    possible: dict[str, Collection[str]] = {
        "model": models.FAMILIES,
        "discriminator": models.DISCRIMINATORS,
    }
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
    """Selects a model family. Baselines get the training settings of the authors of SCAM."""
    for key in models.FAMILIES[config.model.family].shared:
        del config.model[key]
    _set_family(config, name)
    if name == "scam":
        return
    config.model.initialization = "xavier"
    config.losses.gradient_normalization = False
    config.losses.l1 = 0.0
    config.losses.feature_matching = 10.0
    config.losses.kl = 0.05 if models.FAMILIES[name].variational(config.model) else 0.0
    config.optimizer.b1 = 0.0
    config.optimizer.weight_decay = 0.0


def _use_discriminator(config: ConfigDict, kind: str) -> None:
    """Selects a discriminator, and the losses that OASIS needs."""
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
    # Determines initial weights, noise and the order of images.
    config.seed = 0
    # Folder of the frozen networks' converted weights: VGG19 for the loss, others for evaluation.
    config.weights_directory = "weights"

    config.data = ConfigDict()
    # 'folder', 'celeba_mask_hq', 'celeba_mask_hq_sean', 'ade20k', 'ccp' or 'synthetic_people'.
    config.data.name = "folder"
    # The folder of name 'folder'; for other names, where to put the prepared data set.
    config.data.directory = ""
    # Where the official download is; DIRECTORY/downloads/manual if empty.
    config.data.manual_dir = ""
    config.data.height = 256
    config.data.width = 256
    # Labels are 0 … num_labels - 1; 0 is the background.
    config.data.num_labels = 2
    # Maps label numbers of files to labels, see scam_jax/inference/label_map.py: '0|1,2,4|*' maps
    # 1, 2 and 4 to label 1 and all others to label 2. Empty keeps the numbers.
    config.data.label_map = ""
    # Number of the files that marks pixels to leave out of losses and metrics, such as 255; -1 if
    # there are none.
    config.data.ignore_label = -1
    # File that lists the colours of the label numbers, if label maps have colours instead of
    # numbers, see scam_jax/inference/label_colors.py. Empty for numbers.
    config.data.colors = ""
    # 'none', 'basic' or 'crop', see data/augment.py.
    config.data.augmentation = "none"
    # 'train', which holds out a part for validation, or 'authors_train', the whole train split.
    config.data.train_split = "train"
    # Whether to skip unreadable files of a folder; the run lists them.
    config.data.skip_bad_files = False
    # Number of processes per host that read ahead; 0 uses threads instead.
    config.data.num_workers = 0

    config.model = ConfigDict()
    # 'scam', or a baseline: 'spade', 'clade', 'sean', 'sean_clade', 'inade', 'groupdnet'. Select it
    # with --config=configs/NAME.py:model=sean, because the keys of encoder and generator depend on
    # it. These keys and their published values are the fields of the modules in scam_jax/models.
    config.model.family = "scam"
    # Initial weights: 'pytorch', the defaults of PyTorch's layers, or 'xavier', for the baselines.
    config.model.initialization = "pytorch"
    # Compute type of all networks, 'float32' or 'bfloat16'. A network's own `dtype`, if not empty,
    # takes precedence. Parameters, softmax, norms, losses and optimizers are always float32.
    config.model.dtype = "float32"
    # Whether layers scale their weights by 1/√fan_in at run time (equalized learning rate).
    config.model.equalized = False
    _set_family(config, "scam")
    # 'patchgan', 'stylegan2' or 'oasis'; select it with
    # --config=configs/NAME.py:discriminator=oasis.
    _set_discriminator(config, "patchgan")

    # The weight of each loss; 0 turns the loss off. Weights in `schedules` change during training:
    # `config.losses.schedules.gan = {"start": 0.0, "steps": 2600}` starts at 0 and has the value
    # `config.losses.gan` from step 2600 on. `gan` and `swapped` switch at that step; the other
    # weights change by an equal factor per step.
    config.losses = ConfigDict()
    config.losses.schedules = ConfigDict()
    # Whether to normalize the discriminator's logits by their gradients (Wu et al. 2021).
    config.losses.gradient_normalization = True
    # 'hinge' or 'non_saturating', or 'oasis' for the discriminator 'oasis'.
    config.losses.gan_kind = "hinge"
    # Whether to scale the GAN weight by the ratio of gradients at the last layer (Esser et al.
    # 2021, "Taming Transformers").
    config.losses.adaptive_gan = False
    config.losses.gan = 1.0
    # GAN loss of images that are generated with another image's latents.
    config.losses.swapped = 0.0
    config.losses.l1 = 10.0
    config.losses.perceptual = 10.0
    # Compute type of VGG19 in the perceptual loss; empty for `config.model.dtype`.
    config.losses.perceptual_dtype = ""
    config.losses.feature_matching = 0.0
    # The KL loss is a sum over this number of images, whatever the batch size. The authors have 8
    # images per device.
    config.losses.kl_images = 8
    config.losses.kl = 0.0
    config.losses.r1 = 0.0
    # R1 is added every `lazy_r1_step` steps.
    config.losses.lazy_r1_step = 16

    config.optimizer = ConfigDict()
    # 'adamw', as published, or 'muon', which learns more per step.
    config.optimizer.kind = "adamw"
    config.optimizer.generator_learning_rate = 1e-4
    config.optimizer.discriminator_learning_rate = 4e-4
    # How the rates grow with batch_size / reference_batch_size: in proportion ('linear'), with the
    # square root ('sqrt'), or not at all ('none').
    config.optimizer.rate_scaling = "none"
    config.optimizer.reference_batch_size = 32
    # Number of steps over which the rates rise linearly to their values.
    config.optimizer.warmup_steps = 0
    # How the rates fall from then to the last step: 'constant' (not at all, as published), 'linear'
    # or 'cosine'. They end at this share of their values.
    config.optimizer.decay = "constant"
    config.optimizer.last_rate = 0.0
    # Largest norm of a side's gradients, which are scaled down to it; 0 does not limit it, as
    # published.
    config.optimizer.clip_norm = 0.0
    config.optimizer.b1 = 0.9
    config.optimizer.b2 = 0.999
    config.optimizer.eps = 1e-8
    config.optimizer.weight_decay = 0.01
    # Radius of adaptive sharpness-aware minimization: 0 turns it off, the authors' value is 0.5. It
    # makes a step three times as expensive.
    config.optimizer.sam_rho = 0.0

    config.train = ConfigDict()
    # Number of images per step, over all devices.
    config.train.batch_size = 32
    # Number of parts in which each device processes its share, one after the other. More parts need
    # less memory.
    config.train.accumulation_steps = 1
    # Whether to recompute the generator's modulations in the backward pass, which needs less memory
    # and more arithmetic.
    config.train.rematerialize = False
    config.train.num_steps = 50_000
    # Decay of the averaged parameters of encoder and generator, which evaluation and transfer use.
    # 0 turns averaging off, as published.
    config.train.ema_decay = 0.0
    config.train.log_every = 100
    config.train.panel_every = 1000
    config.train.checkpoint_every = 1000
    config.train.keep_checkpoints = 2
    # START:COUNT writes a trace of COUNT steps from step START on, for XProf; empty writes none.
    config.train.profile = ""
    # Figure of the validation split by which the best checkpoint is kept beside the newest: 'psnr',
    # 'ssim', 'l1', 'lpips', 'r_fid' or 's_fid', by our protocol. Empty keeps none.
    config.train.keep_best = ""

    config.eval = ConfigDict()
    # Training evaluates on the validation split every `every` steps; 0 turns this off.
    config.eval.every = 5000
    # Number of seeds of pairs and noise in --mode=eval, which gives mean and standard deviation.
    config.eval.num_seeds = 3
    # Folder for the statistics of real images, which all runs share.
    config.eval.statistics_directory = "statistics"

    # --mode=parser trains a network that draws label maps, on the run's data.
    config.parser = ConfigDict()
    # Channels at full size, a multiple of 8.
    config.parser.features = 32
    config.parser.learning_rate = 1e-3
    config.parser.batch_size = 16
    config.parser.num_steps = 20_000

    # --mode=study trains and evaluates each variant with `num_seeds` seeds, from `config.seed` on.
    config.study = ConfigDict()
    config.study.num_seeds = 3
    # Changes to this config, keyed by the name of the variant.
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


def use_muon(config: ConfigDict) -> None:
    """Sets the optimizer of small models, which learn most from a few thousand steps with it.

    The published rates are for 50 000 steps of 32 images. docs/results.md compares optimizers.
    """
    config.optimizer.kind = "muon"
    config.optimizer.generator_learning_rate = 1e-3
    config.optimizer.discriminator_learning_rate = 1e-3
    config.optimizer.b1 = 0.5
    config.optimizer.warmup_steps = 100
    config.optimizer.clip_norm = 1.0
    config.optimizer.decay = "cosine"
    config.optimizer.last_rate = 0.05
