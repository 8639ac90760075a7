"""One of two processes that evaluate together: evaluating_process.py ADDRESS INDEX FOLDER."""

import pathlib
import sys

import jax

from helpers.evaluation import (
    FewNumbers,
    evaluation_of,
    examples,
    known_transfers,
    noisy_model,
)

address, index, folder = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
jax.distributed.initialize(address, 2, index)
for name in ("first", "second"):
    evaluation = evaluation_of(
        noisy_model(),
        # the hosts share no folder
        folder / str(index),
        examples(5),
        devices=jax.device_count(),
        batch=jax.device_count(),
        seeds=2,
        transfers=known_transfers(3),
        judges=FewNumbers(),
    )
    evaluation.save(folder / str(index) / name)
