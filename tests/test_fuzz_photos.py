"""Damaged pictures end in an answer, or in one line that names the file: nothing else, and soon."""

import contextlib
import pathlib
import resource
import time
import warnings

import numpy as np
import pytest
from helpers import mutations, small_folder
from ml_collections import ConfigDict

from data.checker import findings
from data.folder import FolderSource
from scam_jax.inference import photos
from scam_jax.inference.label_colors import LabelColors
from scam_jax.inference.label_map import LabelMap

COUNT = 150
SLOWEST_SECONDS, MOST_BYTES = 10, 10**9
LABEL_MAP = LabelMap("", mutations.NUM_LABELS)
DATA = ConfigDict(
    {
        "label_map": "",
        "num_labels": mutations.NUM_LABELS,
        "augmentation": "none",
        "height": 8,
        "width": 8,
    }
)


def write(root: pathlib.Path, count: int) -> dict[str, tuple[pathlib.Path, pathlib.Path]]:
    """Writes mutated pairs as train, and a sound pair as test; returns the mutated ones."""
    pairs = {}
    small_folder.write(
        root, "a.png", np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8), "test"
    )
    for kind in ("images", "labels"):
        (root / "train" / kind).mkdir(parents=True)
    for name, photo, labels in mutations.mutations(count):
        pair = root / "train/images" / f"{name}.jpg", root / "train/labels" / f"{name}.png"
        for file, content in zip(pair, (photo, labels), strict=True):
            file.write_bytes(content)
        pairs[name] = pair
    return pairs


def ends_well(name: str, read) -> bool:
    """Returns whether reading gives an answer; anything but one line about the file fails."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak is that of this picture
    begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        read()
        is_read = True
    except (ValueError, OSError) as error:
        message = str(error)
        assert f"/{name}." in message, message
        assert len(message.splitlines()) == 1, message
        message.encode()
        is_read = False
    assert time.monotonic() - begun < SLOWEST_SECONDS, name
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert grown < MOST_BYTES, f"{name} needs {grown} bytes"
    return is_read


def check(root: pathlib.Path, count: int) -> float:
    """Reads mutated pairs in all ways; returns the share that can be read."""
    pairs = write(root, count)
    source = FolderSource(root, "train", LABEL_MAP)
    colors = LabelColors("colors.txt", tuple((n, n, n) for n in range(4)), tuple("abcd"))
    read = {}
    for name, pair in pairs.items():
        read[name] = ends_well(name, lambda pair=pair: photos.read_picture(*pair, DATA))
        assert ends_well(name, lambda name=name: source.read(name)) == read[name], name
        ends_well(name, lambda pair=pair: photos.compare(*pair))
        ends_well(name, lambda pair=pair: photos.read_pair(*pair, LABEL_MAP, colors))
    good = {name for name, is_read in read.items() if is_read}
    assert source.find_bad().keys() == read.keys() - good
    report = findings.check(root, num_labels=mutations.NUM_LABELS)
    assert report.splits["train"].usable.keys() == good
    for fault in report.faults:
        assert len(fault.splitlines()) == 1, fault
    return len(good) / count


@pytest.fixture(autouse=True)
def without_warnings_of_pillow():
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        yield


def test_damaged_pictures_are_read_or_named(tmp_path):
    share = check(tmp_path, COUNT)
    assert 0.05 < share < 0.6, "both sound and damaged pictures are among them"
