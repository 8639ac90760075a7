"""A short version of the campaign of faults; `make chaos` runs the long one."""

import pytest
from chaos import photos, runs, soak


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chaos")
    photos.write_folder(folder / "photos")
    return runs.Toy(folder / "photos", folder, steps=30)


@pytest.mark.slow
def test_runs_killed_and_damaged_end_as_uninterrupted_ones(toy):
    # With this seed, three rounds are killed after 12 to 14 steps, and one at any moment.
    outcomes = runs.campaign(toy, runs.kill_and_damage, rounds=4, seed=26)
    damaged = outcomes["killed, a file damaged"]
    assert damaged >= 1
    assert damaged + outcomes["killed"] + outcomes["a run finished, equal to the bit"] == 4


@pytest.mark.slow
def test_mutated_photos_give_an_answer_or_one_line(tmp_path):
    outcomes = photos.campaign(tmp_path, 200)
    assert sum(outcomes.values()) == 200
    assert {*outcomes} == {"read and transferred", "refused in one line"}


def test_what_is_level():
    before = soak.Sample(500.0, 40, 30)
    assert soak.is_level(before, soak.Sample(530.0, 41, 32))
    for after in (
        soak.Sample(600.0, 40, 30),
        soak.Sample(500.0, 60, 30),
        before._replace(files=99),
    ):
        assert not soak.is_level(before, after)


def test_another_end_is_noticed(tmp_path):
    """The campaign itself fails if weights, metrics or the best checkpoint differ."""
    for name, value in (("a", 1), ("b", 2)):
        item = tmp_path / name / "checkpoints" / "100" / "default"
        item.mkdir(parents=True)
        text = f'{{"custom_metadata": {{"checksums": {{"x": {value}}}}}}}'
        (item / "_METADATA").write_text(text)
    with pytest.raises(AssertionError, match="other weights"):
        runs._compare(tmp_path / "a", tmp_path / "b", last=100)
