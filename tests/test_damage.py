"""A run goes on from its newest sound checkpoint, whatever has happened to the newer ones."""

import random
import shutil

import jax
import numpy as np
import pytest
from helpers import saved
from helpers.closeness import assert_trees_close

from scam_jax.training.best_checkpoint import BestCheckpoint
from scam_jax.training.checkpoints import CheckpointError, Checkpoints


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    saved.save(folder, 2, 4)
    return folder


def cut(file):
    file.write_bytes(file.read_bytes()[:20])


def empty(file):
    file.write_bytes(b"")


def remove(file):
    file.unlink()


def flip(file):
    content = bytearray(file.read_bytes())
    place = random.Random(0).randrange(len(content))
    content[place] ^= 16
    file.write_bytes(content)


def go_on(folder):
    """Resumes, and saves the two steps that follow; returns the step that it resumed from."""
    state = saved.resume(folder)
    step = int(state.step)
    assert_trees_close(state, saved.state(step))
    saved.save(folder, step + 2, step + 4)
    assert int(saved.resume(folder).step) == step + 4
    return step


@pytest.mark.parametrize("damage", [cut, empty, remove, flip])
def test_any_damaged_file_is_survived(two_checkpoints, tmp_path, damage):
    """With each file of the newest checkpoint damaged in turn."""
    files = [f.relative_to(two_checkpoints) for f in (two_checkpoints / "4").rglob("*")]
    files = [file for file in files if (two_checkpoints / file).is_file()]
    steps = set()
    for number, file in enumerate(files):
        folder = shutil.copytree(two_checkpoints, tmp_path / str(number))
        damage(folder / file)
        step = go_on(folder)
        assert (folder / "4.damaged").is_dir() == (step == 2)
        steps.add(step)
    assert 2 in steps, "some file matters"


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: (folder / "6").mkdir(),
        lambda folder: (folder / "6").write_text("a file"),
        lambda folder: shutil.copytree(folder / "4" / "default", folder / "6"),
        lambda folder: (folder / "6.orbax-checkpoint-tmp").mkdir(),
        lambda folder: (folder / "notes.txt").write_text("mine"),
    ],
    ids=["an empty folder", "a file", "half a checkpoint", "an uncommitted one", "a note"],
)
def test_what_is_no_checkpoint_does_not_hide_a_sound_one(two_checkpoints, tmp_path, make):
    folder = shutil.copytree(two_checkpoints, tmp_path / "checkpoints")
    make(folder)
    assert go_on(folder) == 4


def test_a_checkpoint_of_other_networks_is_set_aside(two_checkpoints, tmp_path):
    folder = shutil.copytree(two_checkpoints, tmp_path / "checkpoints")
    other = saved.state(6)
    other = other.replace(params={**other.params, "encoder": {"kernel": jax.numpy.zeros(9)}})
    checkpoints = Checkpoints(folder)
    checkpoints.save(other)
    checkpoints.close()
    assert go_on(folder) == 4


def test_names_of_damaged_checkpoints_do_not_collide(two_checkpoints, tmp_path):
    folder = shutil.copytree(two_checkpoints, tmp_path / "checkpoints")
    for _ in range(2):
        remove(folder / "4" / "default" / "_METADATA")
        assert int(saved.resume(folder).step) == 2
        saved.save(folder, 4)
    assert {"4", "4.damaged", "4.damaged2"} <= {f.name for f in folder.iterdir()}


def test_without_a_sound_checkpoint_nothing_is_renamed(two_checkpoints, tmp_path):
    folder = shutil.copytree(two_checkpoints, tmp_path / "checkpoints")
    for step in ("2", "4"):
        remove(folder / step / "default" / "_METADATA")
    with pytest.raises(CheckpointError, match=r"no checkpoint can be read(.|\n)*/4: (.|\n)*/2: "):
        saved.resume(folder)
    assert {f.name for f in folder.iterdir()} == {"2", "4"}


def test_reading_a_run_renames_nothing(two_checkpoints, tmp_path):
    folder = shutil.copytree(two_checkpoints, tmp_path / "checkpoints")
    remove(folder / "4" / "default" / "_METADATA")
    assert int(Checkpoints(folder).restore(saved.shapes).step) == 2
    assert {f.name for f in folder.iterdir()} == {"2", "4"}


def test_a_step_is_restored_by_its_number(two_checkpoints):
    checkpoints = Checkpoints(two_checkpoints)
    assert int(checkpoints.restore(saved.shapes, step=2).step) == 2
    with pytest.raises(CheckpointError, match="no checkpoint of step 3: 4, 2"):
        checkpoints.restore(saved.shapes, step=3)


def test_the_best_checkpoint_stays(tmp_path):
    def best():
        return BestCheckpoint(Checkpoints(tmp_path), "psnr", higher_is_better=True)

    keeper = best()
    for step, value in ((2, 10.0), (4, 12.0), (6, 11.0)):
        keeper.offer(saved.state(step), {"psnr": value})
    assert best().value == 12.0, "a resumed run knows the best so far"
    keeper = best()
    keeper.offer(saved.state(3), {"psnr": 11.0})  # of a run that went back to step 2
    assert Checkpoints(tmp_path).steps() == [4]
    keeper.offer(saved.state(3), {"psnr": 13.0})
    assert Checkpoints(tmp_path).steps() == [3]
    assert_trees_close(saved.resume(tmp_path), saved.state(3))
    again = saved.state(3).replace(extra={"encoder": {"again": np.ones(2)}})
    keeper.offer(again, {"psnr": 14.0})  # of a run that went back to step 2 once more
    assert Checkpoints(tmp_path).steps() == [3]
    assert Checkpoints(tmp_path).figures(3) == {"psnr": 14.0}


def test_a_state_without_the_figure_is_not_kept(tmp_path, caplog):
    keeper = BestCheckpoint(Checkpoints(tmp_path), "psnr", higher_is_better=True)
    keeper.offer(saved.state(2), {"ssim": 1.0})
    assert Checkpoints(tmp_path).steps() == []
    assert "step 2 has no psnr: it is not kept" in caplog.text


def test_a_new_run_sets_aside_the_best_of_an_older_one(tmp_path):
    keeper = BestCheckpoint(Checkpoints(tmp_path), "psnr", higher_is_better=True)
    keeper.offer(saved.state(2), {"psnr": 30.0})
    keeper.forget()
    assert [file.name for file in tmp_path.iterdir()] == ["2.damaged"]
    keeper.offer(saved.state(4), {"psnr": 10.0})
    assert Checkpoints(tmp_path).steps() == [4]


def test_a_lower_figure_may_be_the_better_one(tmp_path):
    keeper = BestCheckpoint(Checkpoints(tmp_path), "l1", higher_is_better=False)
    for step, value in ((2, 0.5), (4, 0.25), (6, 0.75)):
        keeper.offer(saved.state(step), {"l1": value})
    assert Checkpoints(tmp_path).steps() == [4]
