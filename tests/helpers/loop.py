"""The training loop on random batches, in this process."""

import jax
import numpy as np

from helpers import small
from scam_jax.devices import sharding
from scam_jax.training import loop
from scam_jax.training.checkpoints import Checkpoints
from scam_jax.training.step import step_compiler
from scam_jax.training.writer import Writer


def mesh_of(num_devices):
    return jax.sharding.Mesh(np.array(jax.devices()[:num_devices]), (sharding.DATA,))


def run_loop(config, workdir, batches=None, num_devices=1, **options):
    config.train.checkpoint_every = 2

    def batches_from(step):
        while True:
            yield small.batch(config, step)
            step += 1

    checkpoints = Checkpoints(workdir / "checkpoints")
    try:
        mesh = mesh_of(num_devices)
        return loop.train(
            config,
            loop.restore_or_create(config, mesh, checkpoints),
            mesh=mesh,
            compile_step=step_compiler(config, mesh),
            advice="--config.optimizer.generator_learning_rate=5e-05",
            batches_from=batches or batches_from,
            checkpoints=checkpoints,
            writer_from=lambda step: Writer(workdir, step),
            **options,
        )
    finally:
        checkpoints.close()
