"""Up to which batch does quality hold, and by which rule for the rates? SCAM, drawn people, 32×32.

  python main.py --mode=study --config=configs/synthetic_large_batch.py

All runs see the same number of images, in batches of 8 to 512, with the rates of batch 8: as they
are, times the square root of the growth, or times the growth; with and without warm-up over a tenth
of the steps. Two seeds each. docs/results.md has the figures.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import synthetic_study

IMAGES = 12_800
SMALLEST = 8
LARGER = (32, 128, 512)
SCALINGS = ("none", "sqrt", "linear")


def get_config(choices: str = "") -> ConfigDict:
    """Returns the config; `choices` are those of `common.base`."""
    config = synthetic_study.get_config(choices)
    config.optimizer.reference_batch_size = SMALLEST
    config.study.num_seeds = 2
    variants = {}
    for batch, scalings in {SMALLEST: ("none",), **dict.fromkeys(LARGER, SCALINGS)}.items():
        for scaling in scalings:
            for warms_up in (False, True):
                name = f"batch_{batch}_{scaling}" + "_warm_up" * warms_up
                variants[name] = _changes(batch, scaling, warms_up)
    config.study.variants = ConfigDict(variants)
    return config


def _changes(batch: int, scaling: str, warms_up: bool) -> dict[str, Any]:
    steps = IMAGES // batch
    return {
        "optimizer": {"rate_scaling": scaling, "warmup_steps": steps // 10 if warms_up else 0},
        "train": {
            "batch_size": batch,
            "num_steps": steps,
            # Averaged over as many images whatever the batch.
            "ema_decay": 0.99 ** (batch / SMALLEST),
            "log_every": max(steps // 25, 1),
            "panel_every": steps,
            "checkpoint_every": steps,
        },
        "eval": {"every": steps},
    }
