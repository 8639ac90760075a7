"""A study: variants of a config, each trained with several seeds."""

from ml_collections import ConfigDict

from scam_jax.config import validate


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
                variant.update(changes)
                variant.seed = seed
                validate(variant, num_devices)
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"config.study.variants.{name}: {error}") from error
            runs[f"{name}/seed_{seed}"] = variant
    return runs
