"""One of two processes that evaluate together: evaluating_process.py ADDRESS INDEX FOLDER."""

import pathlib
import sys
from unittest import mock

import jax
import test_evaluate

from scam_jax.evaluation import evaluator as evaluate

address, index, folder = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
jax.distributed.initialize(address, 2, index)
with mock.patch.object(evaluate, "Judges", test_evaluate.FewNumbers):
    for name in ("first", "second"):
        evaluation = test_evaluate.evaluation_of(
            test_evaluate.noisy_model(),
            # the hosts share no folder
            folder / str(index),
            test_evaluate.examples(5),
            devices=jax.device_count(),
            batch=jax.device_count(),
            seeds=2,
            transfers=test_evaluate.known_transfers(3),
        )
        evaluation.save(folder / str(index) / name)
