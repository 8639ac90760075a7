"""Names of labels: from a folder's file, of known data sets and maps, and of labels that merge."""

import json

import numpy as np
import pytest
from helpers import small_folder
from ml_collections import ConfigDict

from configs import common
from data import datasets, label_names
from data.checker import findings, presentation
from scam_jax.inference import label_orders
from scam_jax.inference.label_map import LabelMap, reorder
from scam_jax.inference.label_orders import CELEBA_MASK_HQ, FACE_PARSING

NAMES = ["background", "left arm", "right arm", "hair", "shoes"]


def folder(root, names, **changes) -> ConfigDict:
    small_folder.make(root)
    if names is not None:
        text = names if isinstance(names, str) else json.dumps(names)
        (root / label_names.FILE).write_text(text, encoding="utf-8-sig")
    config = common.base().data
    values = {"directory": str(root), "num_labels": 5, "height": 6, "width": 4, **changes}
    config.update({"augmentation": "basic", **values})
    return config


def test_a_folder_names_its_numbers(tmp_path):
    config = folder(tmp_path, NAMES)
    assert datasets.names_of_labels(config) == tuple(NAMES)
    augment = datasets.load_for_training(config)[1]
    assert augment.keywords["mirrored"][:3].tolist() == [0, 2, 1]
    table = presentation.describe(findings.check(tmp_path, num_labels=5), tmp_path / "check.png")
    assert "  left arm\n" in table


def test_merged_labels_have_joint_names(tmp_path):
    config = folder(
        tmp_path, ["background", "hat", "hair", "shoes"], label_map="0|1,2|*", num_labels=3
    )
    assert datasets.names_of_labels(config) == ("background", "hat, hair", "shoes")


def test_labels_without_names_are_mirrored_as_they_are_and_this_is_said(tmp_path, caplog):
    config = folder(tmp_path, None)
    assert datasets.names_of_labels(config) == ()
    with caplog.at_level("WARNING"):
        augment = datasets.load_for_training(config)[1]
    np.testing.assert_array_equal(augment.keywords["mirrored"], np.arange(256))
    assert "if some are left or right parts, name them in" in caplog.text


def test_only_of_a_folder_the_names_are_asked_for(tmp_path, caplog):
    config = common.base().data
    config.update({"name": "ade20k", "directory": str(tmp_path), "augmentation": "crop"})
    config.num_labels = 151
    with caplog.at_level("WARNING"):
        datasets._for_training(config)
    assert "no names" not in caplog.text


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        ("[", "cannot be read"),
        ({"0": "background"}, "is no list of names"),
        (["background", 1], "is no list of names"),
        (["background", "2"], "has '2', which is no name"),
        (["hair", "skin", "hair"], "has the name 'hair' more than once"),
        (["background", "hair", "hair "], "has the name 'hair' more than once"),
    ],
)
def test_a_file_of_names_that_is_none(tmp_path, names, fault):
    with pytest.raises(ValueError, match=rf"label_names\.json {fault}.*write a list such as"):
        datasets.names_of_labels(folder(tmp_path, names))


@pytest.mark.parametrize(
    ("names", "changes", "message"),
    [
        (NAMES[1:], {}, r"names the numbers 0 … 3, but 4 has a label, too"),
        ([*NAMES, "hat"], {}, r"has 6 names, but config\.data\.num_labels = 5: set it to 6"),
        (NAMES[:2], {"label_map": "0|1,2|*", "num_labels": 3}, "numbers 0 … 1, but 3 has a label"),
    ],
)
def test_a_forgotten_name_would_shift_all_others(tmp_path, names, changes, message):
    config = folder(tmp_path, names, **changes)
    with pytest.raises(ValueError, match=message):
        datasets.names_of_labels(config)
    with pytest.raises(ValueError, match=message):
        findings.check(tmp_path, config.label_map, config.num_labels)


def test_the_number_of_a_label_to_leave_out_may_have_a_name(tmp_path):
    config = folder(tmp_path, [*NAMES, "unlabelled"], ignore_label=5)
    assert datasets.names_of_labels(config) == tuple(NAMES)


def test_the_checker_takes_the_number_of_labels_from_their_names(tmp_path):
    folder(tmp_path, [*NAMES, "hat"])
    assert findings.check(tmp_path).label_map.num_labels == 6


def test_names_that_change_what_is_mirrored_are_other_training_data(tmp_path):
    config = folder(tmp_path, None)
    before = datasets.training_data(config)
    (tmp_path / label_names.FILE).write_text(json.dumps(["background", "a", "b", "c", "d"]))
    assert datasets.training_data(config) == before
    (tmp_path / label_names.FILE).write_text(json.dumps(NAMES))
    assert datasets.training_data(config) != before
    config.augmentation = "none"
    unmirrored = datasets.training_data(config)
    (tmp_path / label_names.FILE).unlink()
    assert datasets.training_data(config) == unmirrored


def test_names_of_a_face_parser_s_labels():
    label_map = LabelMap(reorder(FACE_PARSING, CELEBA_MASK_HQ), 19)
    named = label_orders.joined(label_orders.parts_of("folder", label_map))
    assert named == CELEBA_MASK_HQ


def test_a_known_data_set_keeps_its_names_through_a_map():
    label_map = LabelMap("0|4,5|13|*", 4)
    parts = label_orders.parts_of("celeba_mask_hq", label_map)
    named = label_orders.joined(parts)
    assert named == ("background", "l_eye, r_eye", "hair", "skin, nose, eye_g, …")
    assert len(parts[3]) == 15
    assert label_orders.parts_of("ade20k", LabelMap("0|1,2,4,13|*", 3)) == ()
