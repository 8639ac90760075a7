"""The exported programs of a release: they run alone, and equal the model."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from helpers import small
from helpers.released import FEED, pictures, transferred, write_run

from configs import common
from scam_jax import TrainedModel, models
from scam_jax.commands import export
from scam_jax.inference import programs, release
from scam_jax.training import state

# A process without this package, and without the packages that a program does not need.
USE = """
import sys
absent = ["scam_jax", "flax", "optax", "orbax", "ml_collections", "PIL"]
sys.modules.update(dict.fromkeys(absent))

import numpy as np
from run_exported import load

transfer = load()
with np.load("pictures.npz") as file:
    pictures = [file[name] for name in file.files]
np.savez("images.npz", *(transfer(*(p[:count] for p in pictures)) for count in (1, 3)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("family", models.FAMILIES)
def test_programs_run_alone_for_batches_of_any_size(family, tmp_path):
    """Equal to `TrainedModel.transfer`, one by one, to a grey level; noise included."""
    config = small.config("" if family == "scam" else f"model={family}")
    height, width = config.data.height, config.data.width
    write_run(tmp_path / "run", config)
    export.export(config, tmp_path / "run", tmp_path / "release", lambda *_: FEED)
    batch = pictures(3, height, width)
    batch[1][0] %= 2  # the first subject lacks label 2, which stays the target's
    np.savez(tmp_path / "release" / "pictures.npz", *batch)
    command = [sys.executable, "-c", USE]
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        command, cwd=tmp_path / "release", capture_output=True, text=True, env=variables
    )
    assert result.returncode == 0, result.stderr
    expected = transferred(TrainedModel.load(tmp_path / "run"), batch).astype(int)
    with np.load(tmp_path / "release" / "images.npz") as file:
        for count, name in zip((1, 3), file.files, strict=True):
            assert file[name].dtype == np.uint8
            assert np.abs(file[name] - expected[:count]).max() <= 1, count


def test_a_latent_of_encode_is_what_generate_takes(tmp_path):
    """The two programs together are the third, with nothing taken from the subject."""
    write_run(tmp_path, small.config())
    model = TrainedModel.load(tmp_path)
    weights = release._weights(model.variables, "float32")
    exported = programs.export_programs(model.networks, weights, (16, 16), 3)
    call = {name: jax.export.deserialize(bytearray(p)).call for name, p in exported.items()}
    image, labels, *_ = pictures(2)
    seeds = np.zeros(2, np.int32)
    latents = call["encode"](weights, image, labels, seeds)
    generated = call["generate"](weights, labels, latents, seeds)
    expected = np.stack([model.reconstruct(i, m) for i, m in zip(image, labels, strict=True)])
    assert np.abs(np.asarray(generated).astype(int) - expected).max() <= 1


@pytest.mark.slow
def test_programs_of_celeba_s_size_are_small():
    config = common.base()
    config.data.height = config.data.width = 256
    config.data.num_labels = 19
    networks = models.build(config)
    shapes = state.abstract(config, networks).eval_variables()
    weights = release.flatten_dict(dict(shapes), sep=".")
    exported = programs.export_programs(networks, weights, (256, 256), 19)
    assert sum(map(len, exported.values())) < 10e6
