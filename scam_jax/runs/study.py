"""Studies: variants of a config, each trained with several seeds."""

from typing import Any

from ml_collections import ConfigDict

from scam_jax.runs.validation import validate


def _change(config: ConfigDict, changes: dict[str, Any]) -> None:
    """Updates `config`. A model of another family has other keys and replaces the whole model."""
    if "family" in changes.get("model", {}):
        with config.unlocked():
            config.model = ConfigDict(changes.pop("model"))
    # Only these keys are not in every config.
    schedules = changes.get("losses", {}).pop("schedules", {})
    with config.losses.schedules.unlocked():
        config.losses.schedules.update(schedules)
    config.update(changes)


def runs_of(config: ConfigDict, num_devices: int = 1) -> dict[str, ConfigDict]:
    """Returns the configs of all runs of a study.

    Args:
      config: the whole config. `study.variants` holds the changes of each variant and
        `study.num_seeds` the number of runs per variant.
      num_devices: number of devices that split a batch.

    Returns:
      Configs keyed by folder, VARIANT/seed_N, ordered by seed and then by variant.

    Raises:
      ValueError: a variant has impossible values or unknown keys; names the variant.
    """
    runs = {}
    for seed in range(config.seed, config.seed + config.study.num_seeds):
        for name, changes in config.study.variants.items():
            variant = config.copy_and_resolve_references().lock()
            try:
                if not isinstance(changes, ConfigDict):
                    raise TypeError(f"{changes!r} is no dictionary of what it changes")
                _change(variant, changes.to_dict())
                variant.seed = seed
                validate(variant, num_devices)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise ValueError(f"config.study.variants.{name}: {error}") from error
            runs[f"{name}/seed_{seed}"] = variant
    return runs
