"""Checks a config before anything starts. An error names the key, its value and a remedy."""

from ml_collections import ConfigDict

from scam_jax.models import DISCRIMINATORS, FAMILIES, discriminator_options, family_of
from scam_jax.models.layers.initialization import KINDS
from scam_jax.models.scam.scam_generator import NORMS
from scam_jax.runs import run_folder
from scam_jax.training import optimizers, profiling
from scam_jax.training.loss_weights import GAN_TERMS, LOSSES, is_used, start_of
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
        _require(value in choices, key, value, f"use one of {', '.join(choices)}")
    for key, least in _AT_LEAST.items():
        value = _get(config, key, default=least)
        _require(value >= least, key, value, f"use {least} or more")
    _check_keys(config)
    _require(0 <= config.seed < 2**32, "seed", config.seed, f"use 0 … {2**32 - 1}")
    labels = config.data.num_labels
    _require(labels <= 256, "data.num_labels", labels, "label maps hold 0 … 255: use at most 256")
    _check_networks(config)
    _check_losses(config)
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


def _require(holds: bool, key: str, value, remedy: str) -> None:
    if not holds:
        raise ValueError(f"config.{key} = {value!r}: {remedy}")


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
        _require(
            not odd,
            f"model.{network}",
            sorted(model[network]),
            f"{', '.join(sorted(odd))} should be added or removed: use --config=FILE:{choice}",
        )
    needed = {*family.shared}
    others = {key for other in FAMILIES.values() for key in other.shared} - needed
    odd = (needed - {*model}) | (others & {*model})
    _require(
        not odd,
        "model.family",
        model.family,
        f"model.{', model.'.join(sorted(odd))} should be added or removed: use "
        f"--config=FILE:{of_family}",
    )


def _check_networks(config: ConfigDict) -> None:
    for key, remedy in family_of(config).faults(config):
        _require(False, key, _get(config, key), remedy)
    discriminator = config.model.discriminator
    kind, size = discriminator.kind, (config.data.height, config.data.width)
    if kind == "oasis":
        for key, length in zip(("data.height", "data.width"), size, strict=True):
            remedy = "the OASIS discriminator halves it six times: use a multiple of 64"
            _require(length % 64 == 0, key, length, remedy)
    if kind == "stylegan2":
        halvings = discriminator.num_layers + discriminator.num_scales - 1
        _require(
            discriminator.num_layers >= discriminator.num_scales and min(size) >= 2**halvings,
            "model.discriminator.num_layers",
            discriminator.num_layers,
            f"each halves an image of {size[0]}×{size[1]}, and each further scale has one layer "
            "less: use fewer",
        )
    if config.model.equalized:
        _require(
            config.model.initialization == "pytorch",
            "model.initialization",
            config.model.initialization,
            "equalized layers start from standard normal weights: leave it 'pytorch'",
        )


def _check_losses(config: ConfigDict) -> None:
    losses = config.losses
    for name in LOSSES:
        _require(losses[name] >= 0, f"losses.{name}", losses[name], "use 0 or more")
    for name, schedule in losses.schedules.items():
        _check_schedule(config, name, schedule)
    if is_used(config, "kl"):
        _require(
            family_of(config).variational(config.model),
            "losses.kl",
            losses.kl,
            "only a variational encoder has a KL loss: set model.encoder.use_vae = True, or set "
            "this weight to 0",
        )
    if is_used(config, "swapped"):
        _require(
            family_of(config).has_latents(config.model),
            "losses.swapped",
            losses.swapped,
            "without model.encoder.use_vae there are no latents to swap: use 0",
        )
    _check_real_images(config)
    is_oasis = config.model.discriminator.kind == "oasis"
    _require(
        (losses.gan_kind == "oasis") == is_oasis,
        "losses.gan_kind",
        losses.gan_kind,
        "the loss 'oasis' and model.discriminator.kind = 'oasis' go together",
    )
    if is_oasis:
        _require(
            not is_used(config, "feature_matching"),
            "losses.feature_matching",
            losses.feature_matching,
            "the OASIS discriminator gives no inner maps to match: use 0",
        )


def _check_real_images(config: ConfigDict) -> None:
    """Checks that the discriminator learns real images, by the GAN loss, while it is used."""
    for name in ("swapped", "feature_matching", "r1"):
        _require(
            not is_used(config, name) or is_used(config, "gan"),
            f"losses.{name}",
            config.losses[name],
            "the discriminator learns real images by losses.gan, which is 0: set it above 0, or "
            "this weight to 0",
        )
    if is_used(config, "swapped") and not start_of(config, "gan"):
        steps, own = config.losses.schedules.gan.steps, config.losses.schedules.get("swapped")
        _require(
            own is not None and not start_of(config, "swapped") and own.steps >= steps,
            "losses.swapped",
            config.losses.swapped,
            f"the discriminator learns real images by losses.gan, which is 0 before step {steps}: "
            "set losses.schedules.gan.steps = 0, or in the config file losses.schedules.swapped "
            f"= {{'start': 0.0, 'steps': {steps}}}",
        )


def _check_schedule(config: ConfigDict, name: str, schedule: ConfigDict) -> None:
    key, keys = f"losses.schedules.{name}", {"start", "steps"}
    is_one = isinstance(schedule, ConfigDict)
    shown = schedule.to_dict() if is_one else schedule
    _require(name in LOSSES, key, shown, f"use one of {', '.join(LOSSES)}")
    _require(is_one, key, shown, "a schedule is {'start': …, 'steps': …}")
    _require({*schedule} == keys, key, schedule.to_dict(), "a schedule has `start` and `steps`")
    for part, value in schedule.items():
        _require(value >= 0, f"{key}.{part}", value, "use 0 or more")
    weight = config.losses[name]
    if name not in GAN_TERMS and schedule.start != weight:
        _require(
            min(schedule.start, weight) > 0 and schedule.steps > 0,
            key,
            schedule.to_dict(),
            f"this weight changes by equal factors: set start, steps and losses.{name} above 0",
        )


def _check_training(config: ConfigDict, num_devices: int) -> None:
    train, optimizer = config.train, config.optimizer
    _require(
        train.batch_size % num_devices == 0,
        "train.batch_size",
        train.batch_size,
        f"must be a multiple of the number of devices, {num_devices}",
    )
    _check_swapped(config, num_devices)
    _check_accumulation(config, num_devices)
    _require(0 <= train.ema_decay < 1, "train.ema_decay", train.ema_decay, "use 0 (off) … below 1")
    for key in ("generator_learning_rate", "discriminator_learning_rate", "eps"):
        _require(optimizer[key] > 0, f"optimizer.{key}", optimizer[key], "use a number above 0")
    for key in ("b1", "b2"):
        _require(0 <= optimizer[key] < 1, f"optimizer.{key}", optimizer[key], "use 0 … below 1")
    profile = _get(config, "train.profile")
    _require(
        not profile or profiling.parse(profile) is not None,
        "train.profile",
        profile,
        "use START:COUNT, such as 100:5, or nothing",
    )
    parser = config.parser
    _require(parser.features % 8 == 0, "parser.features", parser.features, "use a multiple of 8")
    rate = parser.learning_rate
    _require(rate > 0, "parser.learning_rate", rate, "use a number above 0")
    decay = optimizer.weight_decay
    _require(decay >= 0, "optimizer.weight_decay", decay, "use 0 or more")


def _check_swapped(config: ConfigDict, num_devices: int) -> None:
    if is_used(config, "swapped"):
        size = config.train.batch_size
        _require(
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
    _require(
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
        _require(
            not used,
            "train.accumulation_steps",
            parts,
            f"{what} needs the whole batch at once: use 1",
        )
