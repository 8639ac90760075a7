"""The TFDS builder of synthetic people, and its use through a configuration."""

import itertools
import pathlib
import subprocess
import sys

import ml_collections
import numpy as np
import pytest

from configs import synthetic
from data import array_record_builder, datasets
from data.synthetic import scenes, synthetic_people
from data.synthetic.synthetic_people import SyntheticPeople, SyntheticPeopleConfig

TINY = SyntheticPeopleConfig(
    name="tiny",
    description="For tests.",
    height=48,
    width=32,
    num_train=12,
    num_validation=3,
    num_test=4,
)


def prepared(directory: pathlib.Path, config: SyntheticPeopleConfig = TINY) -> SyntheticPeople:
    builder = SyntheticPeople(config=config, data_dir=directory)
    builder.download_and_prepare()
    return builder


def small(monkeypatch) -> None:
    """Makes the published configs few examples long."""
    configs = [
        SyntheticPeopleConfig(
            name=c.name,
            description="",
            height=c.height,
            width=c.width,
            num_train=5,
            num_validation=2,
            num_test=3,
        )
        for c in SyntheticPeople.BUILDER_CONFIGS
    ]
    monkeypatch.setattr(SyntheticPeople, "BUILDER_CONFIGS", configs)
    monkeypatch.setattr(SyntheticPeople, "builder_configs", {c.name: c for c in configs})


def config_dict(directory, /, **changes) -> ml_collections.ConfigDict:
    config = synthetic.get_config().data
    config.update({"directory": str(directory), **changes})
    return config


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("people"))


def test_examples_are_the_scenes_of_their_ids(builder):
    for split, count in (("train", 12), ("validation", 3), ("test", 4)):
        source = builder.as_data_source(split=split)
        assert len(source) == count
        names = [source[i]["id"].decode() for i in range(count)]
        assert sorted(names) == [f"{split}_{i:06d}" for i in range(count)]
        for i, name in enumerate(names):
            subject, _ = synthetic_people.sample_scenes(split, int(name[-6:]))
            image, label = scenes.draw(*subject, 48, 32)
            np.testing.assert_array_equal(source[i]["image"], image)
            np.testing.assert_array_equal(source[i]["label"][..., 0], label)


def test_splits_share_no_scene():
    scenes_of = {
        split: [synthetic_people.sample_scenes(split, i)[0] for i in range(20)]
        for split in ("train", "validation", "test")
    }
    for one, other in itertools.combinations(scenes_of.values(), 2):
        assert all(scene not in other for scene in one)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_every_split_but_train_has_transfers(builder, split):
    assert all(not e["transfer"]["image"] for e in builder.as_data_source(split="train"))
    for example in builder.as_data_source(split=split):
        transfer = {name: entries[0] for name, entries in example["transfer"].items()}
        assert set(transfer) == {"image", "target_image", "target_label"}
        outside = transfer["target_label"][..., 0] == 0
        np.testing.assert_array_equal(transfer["image"][outside], transfer["target_image"][outside])
        assert np.mean(transfer["image"][~outside] != transfer["target_image"][~outside]) > 0.5


def test_target_wears_no_hat_that_the_subject_does_not_show():
    hats = [[s[1].hat for s in synthetic_people.sample_scenes("test", i)] for i in range(100)]
    assert all(subject != "none" or target == "none" for subject, target in hats)
    assert any(target != "none" for _, target in hats)


def test_two_preparations_give_the_same_bytes(builder, tmp_path):
    again = prepared(tmp_path)
    files = sorted(builder.data_path.glob("*.array_record*"))
    assert len(files) == 3
    for file in files:
        assert file.read_bytes() == (again.data_path / file.name).read_bytes()


def test_preparing_again_leaves_the_files_alone(builder):
    before = {file: pathlib.Path(file).stat().st_mtime_ns for file in builder.data_path.iterdir()}
    again = SyntheticPeople(config=TINY, data_dir=builder.data_path.parent.parent.parent)
    again.download_and_prepare()
    after = {file: pathlib.Path(file).stat().st_mtime_ns for file in again.data_path.iterdir()}
    assert after == before


def test_interrupted_preparation_starts_afresh(tmp_path, monkeypatch):
    draw = SyntheticPeople._example

    def stop_at_third(self, split, index):
        if index == 3:
            raise KeyboardInterrupt
        return draw(self, split, index)

    monkeypatch.setattr(SyntheticPeople, "_example", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        prepared(tmp_path)
    # What a killed process leaves behind.
    leftover = tmp_path / "synthetic_people" / "tiny" / "incomplete.ABCDEF_1.0.0"
    leftover.mkdir(parents=True)
    (leftover / "synthetic_people-train.array_record-00000-of-00001").write_bytes(b"half")
    monkeypatch.undo()
    assert len(prepared(tmp_path).as_data_source(split="train")) == 12


def test_preparing_logs_its_progress_and_prints_nothing(tmp_path, monkeypatch, caplog, capfd):
    monkeypatch.setattr(array_record_builder, "_SECONDS_BETWEEN_LINES", 0)
    with caplog.at_level("INFO", logger="absl"):
        directory = prepared(tmp_path).data_path
    ours = ("preparing ", "drawing ", "prepared ")
    splits = (("train", 12), ("validation", 3), ("test", 4))
    assert [line for line in caplog.messages if line.startswith(ours)] == [
        f"preparing synthetic_people in {directory}",
        *(
            f"drawing synthetic_people: {split} {done} of {total}"
            for split, total in splits
            for done in range(1, total + 1)
        ),
        f"prepared synthetic_people; later runs read it from {directory}",
    ]
    assert capfd.readouterr() == ("", "")


def test_tensorflow_is_never_imported_and_nothing_is_printed(tmp_path):
    program = f"""
import sys
from data.synthetic.synthetic_people import SyntheticPeople, SyntheticPeopleConfig
config = SyntheticPeopleConfig(name="t", description="", num_train=2, num_validation=1, num_test=2)
builder = SyntheticPeople(config=config, data_dir={str(tmp_path)!r})
builder.download_and_prepare()
assert builder.as_data_source(split="test")[1]["image"].shape == (64, 64, 3)
assert "tensorflow" not in sys.modules
"""
    root = pathlib.Path(__file__).parent.parent
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("size", [64, 256])
def test_a_configuration_loads_pairs_and_transfers(tmp_path, monkeypatch, size):
    small(monkeypatch)
    config = config_dict(tmp_path, height=size, width=size)
    datasets.prepare(config)
    train, test = datasets.load(config, "train"), datasets.load(config, "test")
    assert (len(train), len(test)) == (5, 3)
    example = train[4]
    assert set(example) == {"image", "label"}
    assert (example["image"].shape, example["label"].shape) == ((size, size, 3), (size, size))
    transfers = datasets.load_transfers(config)
    assert len(transfers) == 3
    transfer = transfers[0]
    np.testing.assert_array_equal(transfer["subject_image"], test[0]["image"])
    np.testing.assert_array_equal(transfer["subject_label"], test[0]["label"])
    assert transfer["target_label"].shape == (size, size)
    outside = transfer["target_label"] == 0
    np.testing.assert_array_equal(
        transfer["transfer_image"][outside], transfer["target_image"][outside]
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"height": 128}, r"config\.data\.height, width = 128, 64: .* at 32×32, 64×64, 256×256"),
        ({"num_labels": 19}, r"synthetic_people has 6 labels: set .*num_labels = 6, not 19"),
    ],
)
def test_a_configuration_that_cannot_be(tmp_path, changes, message):
    config = config_dict(tmp_path, **changes)
    for call in (datasets.prepare, datasets.load_transfers, lambda c: datasets.load(c, "train")):
        with pytest.raises(ValueError, match=message):
            call(config)
