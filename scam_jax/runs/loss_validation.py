"""Checks of the losses of a config."""

from ml_collections import ConfigDict

from scam_jax.models import family_of
from scam_jax.runs.requirement import require
from scam_jax.training.loss_weights import GAN_TERMS, LOSSES, is_used, start_of


def check_losses(config: ConfigDict) -> None:
    """Checks `config.losses`; raises ValueError for an impossible value."""
    losses = config.losses
    for name in LOSSES:
        require(losses[name] >= 0, f"losses.{name}", losses[name], "use 0 or more")
    for name, schedule in losses.schedules.items():
        _check_schedule(config, name, schedule)
    if is_used(config, "kl"):
        require(
            family_of(config).variational(config.model),
            "losses.kl",
            losses.kl,
            "only a variational encoder has a KL loss: set model.encoder.use_vae = True, or set "
            "this weight to 0",
        )
    if is_used(config, "swapped"):
        require(
            family_of(config).has_latents(config.model),
            "losses.swapped",
            losses.swapped,
            "without model.encoder.use_vae there are no latents to swap: use 0",
        )
    _check_real_images(config)
    is_oasis = config.model.discriminator.kind == "oasis"
    require(
        (losses.gan_kind == "oasis") == is_oasis,
        "losses.gan_kind",
        losses.gan_kind,
        "the loss 'oasis' and model.discriminator.kind = 'oasis' go together",
    )
    if is_oasis:
        require(
            not is_used(config, "feature_matching"),
            "losses.feature_matching",
            losses.feature_matching,
            "the OASIS discriminator gives no inner maps to match: use 0",
        )


def _check_real_images(config: ConfigDict) -> None:
    """Checks that the discriminator learns real images, by the GAN loss, while it is used."""
    for name in ("swapped", "feature_matching", "r1"):
        require(
            not is_used(config, name) or is_used(config, "gan"),
            f"losses.{name}",
            config.losses[name],
            "the discriminator learns real images by losses.gan, which is 0: set it above 0, or "
            "this weight to 0",
        )
    if is_used(config, "swapped") and not start_of(config, "gan"):
        steps, own = config.losses.schedules.gan.steps, config.losses.schedules.get("swapped")
        require(
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
    require(name in LOSSES, key, shown, f"use one of {', '.join(LOSSES)}")
    require(is_one, key, shown, "a schedule is {'start': …, 'steps': …}")
    require({*schedule} == keys, key, schedule.to_dict(), "a schedule has `start` and `steps`")
    for part, value in schedule.items():
        require(value >= 0, f"{key}.{part}", value, "use 0 or more")
    weight = config.losses[name]
    if name not in GAN_TERMS and schedule.start != weight:
        require(
            min(schedule.start, weight) > 0 and schedule.steps > 0,
            key,
            schedule.to_dict(),
            f"this weight changes by equal factors: set start, steps and losses.{name} above 0",
        )
