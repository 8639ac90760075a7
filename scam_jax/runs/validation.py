"""Checks a config before anything starts. An error names the key, its value and a remedy."""

from ml_collections import ConfigDict

from scam_jax.models import DISCRIMINATORS, FAMILIES, discriminator_options, family_of
from scam_jax.models.layers.initialization import KINDS
from scam_jax.models.scam.scam_generator import NORMS
from scam_jax.runs import loss_validation, run_folder
from scam_jax.runs.requirement import require
from scam_jax.training import optimizers, profiling
from scam_jax.training.loss_weights import is_used
from scam_jax.training.losses import GAN_LOSSES

DTYPES = ("float32", "bfloat16")
# Figures that `train.keep_best` may name: the metric, and whether a higher value is better.
BEST_BY = {
    "psnr": ("PSNR", True),
    "ssim": ("SSIM", True),
    "l1": ("L1", False),
    "lpips": ("LPIPS", False),
    "r_fid": ("R-FID", False),
    "s_fid": ("S-FID", False),
}
# Allowed values. A config has only those `model` keys of this table and the next that its family
# and discriminator use.
_CHOICES = {
    "model.family": tuple(FAMILIES),
    "model.initialization": KINDS,
    "model.discriminator.kind": tuple(DISCRIMINATORS),
    "model.dtype": DTYPES,
    **{f"model.{name}.dtype": ("", *DTYPES) for name in ("encoder", "generator", "discriminator")},
    "losses.perceptual_dtype": ("", *DTYPES),
    "optimizer.rate_scaling": tuple(optimizers.RATE_SCALINGS),
    "optimizer.decay": tuple(optimizers.DECAYS),
    "optimizer.kind": tuple(optimizers.KINDS),
    "model.encoder.latents": ("learned", "fixed_random", "random"),
    "model.generator.attention": ("duplex", "simplex"),
    "model.generator.architecture": ("skip", "resnet"),
    "model.generator.norm": NORMS,
    "losses.gan_kind": tuple(GAN_LOSSES),
    "train.keep_best": ("", *BEST_BY),
}
# Smallest allowed values.
_AT_LEAST = {
    "data.height": 1,
    "data.width": 1,
    "data.num_labels": 1,
    "model.latents_per_label": 1,
    "model.background_latents": 1,
    "model.latent_dim": 1,
    "model.attention_dim": 1,
    "model.encoder.num_blocks": 1,
    "model.encoder.num_heads": 1,
    "model.encoder.position_dim": 4,
    "model.encoder.conv_features": 1,
    "model.generator.features": 4,
    "model.generator.num_up_layers": 4,
    "model.generator.num_heads": 1,
    "model.generator.mask_adain_layers": 0,
    "model.discriminator.num_scales": 1,
    "model.discriminator.features": 1,
    "model.discriminator.num_layers": 2,
    "model.discriminator.max_features": 1,
    "losses.lazy_r1_step": 1,
    "losses.kl_images": 1,
    "optimizer.reference_batch_size": 1,
    "optimizer.warmup_steps": 0,
    "optimizer.last_rate": 0,
    "optimizer.clip_norm": 0,
    "optimizer.sam_rho": 0,
    "train.batch_size": 1,
    "train.accumulation_steps": 1,
    "train.num_steps": 1,
    "train.log_every": 1,
    "train.panel_every": 1,
    "train.checkpoint_every": 1,
    "train.keep_checkpoints": 1,
    "eval.every": 0,
    "eval.num_seeds": 1,
    "parser.features": 8,
    "parser.batch_size": 1,
    "parser.num_steps": 1,
    "study.num_seeds": 1,
}


def validate(config: ConfigDict, num_devices: int = 1) -> None:
    """Checks a config. Of `config.data` it checks only the sizes, because `data` checks the rest.

    Args:
      config: the whole config.
      num_devices: number of devices that split a batch.

    Raises:
      ValueError: a value is impossible, or the batch cannot be split over `num_devices`.
    """
    for key, choices in _CHOICES.items():
        value = _get(config, key, default=choices[0])
        require(value in choices, key, value, f"use one of {', '.join(choices)}")
    for key, least in _AT_LEAST.items():
        value = _get(config, key, default=least)
        require(value >= least, key, value, f"use {least} or more")
    _check_keys(config)
    require(0 <= config.seed < 2**32, "seed", config.seed, f"use 0 … {2**32 - 1}")
    labels = config.data.num_labels
    require(labels <= 256, "data.num_labels", labels, "label maps hold 0 … 255: use at most 256")
    _check_networks(config)
    loss_validation.check_losses(config)
    _check_training(config, num_devices)


def _get(config: ConfigDict, key: str, default=None):
    """Returns the value of a dotted key. A key that only some models have gives the default."""
    for part in key.split("."):
        if default is not None and key.startswith("model.") and part not in config:
            return default
        if part not in config:
            raise run_folder.of_another_version(key)
        config = config[part]
    return config


def _check_keys(config: ConfigDict) -> None:
    """Checks that the model has exactly the keys of its family and its discriminator."""
    model, family = config.model, family_of(config)
    of_family, of_kind = f"model={model.family}", f"discriminator={model.discriminator.kind}"
    options = discriminator_options(model.discriminator.kind)
    expected = [
        ("encoder", {"dtype", *family.encoder}, of_family),
        ("generator", {"dtype", *family.generator}, of_family),
        ("discriminator", {"dtype", "kind", *options}, of_kind),
    ]
    for network, keys, choice in expected:
        odd = keys ^ {*model[network]}
        require(
            not odd,
            f"model.{network}",
            sorted(model[network]),
            f"{', '.join(sorted(odd))} should be added or removed: use --config=FILE:{choice}",
        )
    needed = {*family.shared}
    others = {key for other in FAMILIES.values() for key in other.shared} - needed
    odd = (needed - {*model}) | (others & {*model})
    require(
        not odd,
        "model.family",
        model.family,
        f"model.{', model.'.join(sorted(odd))} should be added or removed: use "
        f"--config=FILE:{of_family}",
    )


def _check_networks(config: ConfigDict) -> None:
    for key, remedy in family_of(config).faults(config):
        require(False, key, _get(config, key), remedy)
    discriminator = config.model.discriminator
    kind, size = discriminator.kind, (config.data.height, config.data.width)
    if kind == "oasis":
        for key, length in zip(("data.height", "data.width"), size, strict=True):
            remedy = "the OASIS discriminator halves it six times: use a multiple of 64"
            require(length % 64 == 0, key, length, remedy)
    if kind == "stylegan2":
        halvings = discriminator.num_layers + discriminator.num_scales - 1
        require(
            discriminator.num_layers >= discriminator.num_scales and min(size) >= 2**halvings,
            "model.discriminator.num_layers",
            discriminator.num_layers,
            f"each halves an image of {size[0]}×{size[1]}, and each further scale has one layer "
            "less: use fewer",
        )
    if config.model.equalized:
        require(
            config.model.initialization == "pytorch",
            "model.initialization",
            config.model.initialization,
            "equalized layers start from standard normal weights: leave it 'pytorch'",
        )


def _check_training(config: ConfigDict, num_devices: int) -> None:
    train, optimizer = config.train, config.optimizer
    require(
        train.batch_size % num_devices == 0,
        "train.batch_size",
        train.batch_size,
        f"must be a multiple of the number of devices, {num_devices}",
    )
    _check_swapped(config, num_devices)
    _check_accumulation(config, num_devices)
    require(0 <= train.ema_decay < 1, "train.ema_decay", train.ema_decay, "use 0 (off) … below 1")
    for key in ("generator_learning_rate", "discriminator_learning_rate", "eps"):
        require(optimizer[key] > 0, f"optimizer.{key}", optimizer[key], "use a number above 0")
    for key in ("b1", "b2"):
        require(0 <= optimizer[key] < 1, f"optimizer.{key}", optimizer[key], "use 0 … below 1")
    profile = _get(config, "train.profile")
    require(
        not profile or profiling.parse(profile) is not None,
        "train.profile",
        profile,
        "use START:COUNT, such as 100:5, or nothing",
    )
    parser = config.parser
    require(parser.features % 8 == 0, "parser.features", parser.features, "use a multiple of 8")
    rate = parser.learning_rate
    require(rate > 0, "parser.learning_rate", rate, "use a number above 0")
    decay = optimizer.weight_decay
    require(decay >= 0, "optimizer.weight_decay", decay, "use 0 or more")


def _check_swapped(config: ConfigDict, num_devices: int) -> None:
    if is_used(config, "swapped"):
        size = config.train.batch_size
        require(
            size > num_devices,
            "train.batch_size",
            size,
            f"losses.swapped exchanges latents between the images of a device: use "
            f"{2 * num_devices} or more on {num_devices} devices",
        )


def _check_accumulation(config: ConfigDict, num_devices: int) -> None:
    parts = config.train.accumulation_steps
    if parts == 1:
        return
    require(
        config.train.batch_size % (parts * num_devices) == 0,
        "train.accumulation_steps",
        parts,
        f"must divide each device's share of train.batch_size, "
        f"{config.train.batch_size} / {num_devices}",
    )
    needs_all = {
        "batch norm": family_of(config).batch_norm(config.model),
        "losses.gan_kind = 'oasis'": config.losses.gan_kind == "oasis",
        "losses.swapped": is_used(config, "swapped"),
        "losses.adaptive_gan": config.losses.adaptive_gan,
    }
    for what, used in needs_all.items():
        require(
            not used,
            "train.accumulation_steps",
            parts,
            f"{what} needs the whole batch at once: use 1",
        )
