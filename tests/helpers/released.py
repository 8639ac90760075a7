"""A run to release: random weights, and a data set of few pictures."""

import jax.numpy as jnp
import numpy as np

from scam_jax import models
from scam_jax.runs import run_folder
from scam_jax.training import state
from scam_jax.training.checkpoints import Checkpoints

NAMES = ["background", "hair", "skin"]


def _example(seed, *kinds):
    random = np.random.default_rng(seed)
    sizes = {"image": (16, 16, 3), "label": (16, 16)}
    return {
        kind: random.integers(0, 3, sizes[kind.split("_")[-1]], dtype=np.uint8) for kind in kinds
    }


class FEED:
    """The data of the run: a split of pictures, or of transfers."""

    @classmethod
    def split(cls, split):
        assert split == "test"
        return [_example(i, "image", "label") for i in range(5)]

    @classmethod
    def transfers(cls, split):
        return None


class TRANSFERS(FEED):
    @classmethod
    def transfers(cls, split):
        people = [f"{who}_{kind}" for who in ("subject", "target") for kind in ("image", "label")]
        return [_example(i, *people, "transfer_image") for i in range(2)]


def write_run(folder, config):
    run_folder.record(config, folder, label_names=NAMES, training_examples=12)
    checkpoints = Checkpoints(folder / run_folder.CHECKPOINTS)
    trained = state.create(config, models.build(config)).replace(step=jnp.int32(7))
    checkpoints.save(trained)
    checkpoints.close()
    return trained


def pictures(count, height=16, width=16):
    random = np.random.default_rng(0)

    def images():
        return random.integers(0, 256, (count, height, width, 3), dtype=np.uint8)

    def labels():
        return random.integers(0, 3, (count, height, width), dtype=np.uint8)

    return images(), labels(), images(), labels()


def transferred(model, batch):
    return np.stack([model.transfer(*example) for example in zip(*batch, strict=True)])
