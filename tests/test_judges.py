"""The networks that judge: found by their files, or missing with the reason."""

import jax
import numpy as np
import pytest
from helpers.loop import mesh_of

from scam_jax.evaluation.judges import Judges
from scam_jax.models.frozen.lpips import LPIPS
from scam_jax.weights import pretrained
from scam_jax.weights.pretrained import Pretrained


def random_weights(name):
    random = np.random.default_rng(0)
    draw = lambda x: random.normal(0, 0.05, x.shape).astype(np.float32)  # noqa: E731
    return Pretrained(jax.tree.map(draw, pretrained.shapes(name)), f"{name}0123456789")


def test_what_is_there_judges_and_the_rest_is_missing(tmp_path, caplog):
    weights = {name: random_weights(name) for name in ("alexnet", "lpips_alex")}
    for name, kept in weights.items():
        pretrained.save(pretrained.path_of(name, tmp_path), kept)
    judges = Judges(tmp_path, mesh_of(2))
    assert "lpips" in judges
    assert judges.hashes == {"lpips": "alexnet01234-lpips_alex01"}
    assert judges.missing.keys() == {"inception", "reid"}
    assert "weights-inception-2015-12-05-6726825d.pth" in judges.missing["inception"][0]
    assert "lup_moco_r50.pth" in caplog.text, "a run says so from the start"
    images = np.random.default_rng(1).integers(0, 256, (2, 2, 64, 64, 3)).astype(np.float32)
    found = judges.lpips(*images)
    variables = {"params": {name: kept.params for name, kept in weights.items()}}
    expected = LPIPS().apply(variables, *(images / 127.5 - 1))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_half_of_a_judge_does_not_judge(tmp_path):
    pretrained.save(pretrained.path_of("alexnet", tmp_path), random_weights("alexnet"))
    judges = Judges(tmp_path, mesh_of(1))
    assert "lpips" not in judges
    (line,) = judges.missing["lpips"]
    assert "alex.pth" in line


def test_a_damaged_file_is_an_error_and_not_a_missing_one(tmp_path):
    (tmp_path / "inception.npz").write_bytes(b"half a file")
    with pytest.raises(ValueError, match=r"inception.npz cannot be read"):
        Judges(tmp_path, mesh_of(1))
