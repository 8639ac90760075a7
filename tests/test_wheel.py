"""The package alone, installed from its wheel, uses a trained model as the repository does."""

import json
import os
import pathlib
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from helpers import small

import scam_jax
from scam_jax import TrainedModel, models
from scam_jax.training import state
from scam_jax.training.checkpoints import Checkpoints

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[1]
# Folders of the repository, and packages that only training and reports need.
ABSENT = ("data", "configs", "main", "grain", "tensorflow_datasets", "clu", "dm_pix", "matplotlib")
PROGRAM = f"""
import importlib.metadata, importlib.util, sys
import numpy as np
from scam_jax import TrainedModel

found = [name for name in {ABSENT} if importlib.util.find_spec(name)]
assert not found, f"installed too: {{found}}"
assert importlib.metadata.version("scam-jax") == {scam_jax.__version__!r}
with np.load("pictures.npz") as file:
    pictures = [file[name] for name in file.files]
np.save("transfer.npy", TrainedModel.load("run").transfer(*pictures))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip(sys.executable, "wheel", "--no-deps", f"--wheel-dir={folder}", ROOT)
    return next(folder.glob("*.whl"))


def pip(python, *arguments) -> None:
    command = [python, "-m", "pip", "-qq", "--disable-pip-version-check", *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def write_run(folder: pathlib.Path) -> None:
    """Writes what `TrainedModel.load` reads of a run: its config and a checkpoint."""
    config = small.config()
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    checkpoints = Checkpoints(folder / "checkpoints")
    checkpoints.save(state.create(config, models.build(config)))
    checkpoints.close()


def test_the_wheel_holds_the_package_and_its_data(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    package = {str(f.relative_to(ROOT)) for f in (ROOT / "scam_jax").rglob("*.*") if f.is_file()}
    package = {name for name in package if not name.endswith(".pyc")}
    assert {name for name in names if ".dist-info/" not in name} == package
    assert {"scam_jax/py.typed", "scam_jax/report/report.css"} <= package


def test_a_trained_model_outside_the_repository(wheel, tmp_path):
    random = np.random.default_rng(0)
    people = {}
    for name in ("subject", "target"):
        people[name] = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        people[f"{name}_labels"] = random.integers(0, 3, (16, 16), dtype=np.uint8)
    np.savez(tmp_path / "pictures.npz", **people)
    write_run(tmp_path / "run")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip(python, "install", wheel)

    # The newest jaxlib may not know the flags of this one.
    own = ("PYTHONPATH", "XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR")
    environment = {k: v for k, v in os.environ.items() if k not in own}
    command = [python, "-c", PROGRAM]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert result.returncode == 0, result.stderr
    ours = TrainedModel.load(tmp_path / "run").transfer(*people.values())
    theirs = np.load(tmp_path / "transfer.npy")
    assert np.ptp(ours) > 0
    assert ours.shape == theirs.shape
    assert np.abs(ours.astype(int) - theirs).max() <= 1
