"""The model in models/people64, and the notebook that uses it."""

import json
import pathlib
import subprocess

import numpy as np
import pytest
from PIL import Image

from scam_jax import TrainedModel
from scam_jax.inference import recipe, release, release_examples

ROOT = pathlib.Path(__file__).parent.parent
MODEL = ROOT / "models" / "people64"
NOTEBOOK = ROOT / "docs" / "transfer.ipynb"


def code_cells():
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


@pytest.fixture(scope="module")
def notebook():
    """The notebook's variables after all cells have run, and the pictures that it showed."""
    shown: list[Image.Image] = []
    values = {"display": lambda *pictures: shown.extend(pictures)}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(NOTEBOOK.parent)
        for number, cell in enumerate(code_cells()):
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), values)
    return values, shown


def test_transfers_people(notebook):
    values, _ = notebook
    people, examples = (
        TrainedModel.load(MODEL),
        release_examples.load(MODEL, values["model"].config.data),
    )
    assert len(examples) >= 8
    decibels = []
    for example in examples:
        subject, target = (
            release_examples.person_of(example, who) for who in ("subject", "target")
        )
        truth = example[release_examples.TRUTH]
        ours = people.transfer(*subject, *target)
        error = np.square((ours.astype(float) - truth) / 255).mean()
        decibels.append(-10 * np.log10(error))
    assert np.mean(decibels) > 17


def test_notebook_shows_what_it_stores(notebook):
    stored = [
        output
        for cell in code_cells()
        for output in cell["outputs"]
        if output["output_type"] == "display_data"
    ]
    assert len(notebook[1]) == len(stored)
    assert all(cell["execution_count"] for cell in code_cells())


def test_notebook_computes_what_it_says(notebook):
    values, _ = notebook
    whole = recipe.make(values["model"], values["whole"])
    np.testing.assert_array_equal(values["transferred"], whole)
    assert (values["labels"] == values["subject"].labels).mean() > 0.95
    assert values["latents"].shape[1] == 8 + 5 * 4


def test_release_is_whole_and_small():
    subprocess.run(["sha256sum", "--check", "--quiet", release.SUMS], cwd=MODEL, check=True)
    size = sum(file.stat().st_size for file in MODEL.rglob("*") if file.is_file())
    assert size <= 6e6
