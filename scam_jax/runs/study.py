"""A study: variants of a config, each trained with several seeds."""

from typing import Any

from ml_collections import ConfigDict

from scam_jax.runs.validation import validate


def _change(config: ConfigDict, changes: dict[str, Any]) -> None:
    """Updates `config`; another family's model, which has other keys, replaces its own."""
    if "family" in changes.get("model", {}):
        with config.unlocked():
            config.model = ConfigDict(changes.pop("model"))
    config.update(changes)


def runs_of(config: ConfigDict, num_devices: int = 1) -> dict[str, ConfigDict]:
    """The config of every run by its folder, VARIANT/seed_N; all variants of a seed come first.

    Args:
      config: with `study.variants`, what differs by variant, and `study.num_seeds`.
      num_devices: that batches are divided among.

    Raises:
      ValueError: names a variant whose values are impossible, or whose keys no config has.
    """
    runs = {}
    for seed in range(config.seed, config.seed + config.study.num_seeds):
        for name, changes in config.study.variants.items():
            variant = config.copy_and_resolve_references().lock()
            try:
                _change(variant, changes.to_dict())
                variant.seed = seed
                validate(variant, num_devices)
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"config.study.variants.{name}: {error}") from error
            runs[f"{name}/seed_{seed}"] = variant
    return runs
