"""Label maps: what becomes of the numbers of files, and what every mistake says."""

import pathlib
import pickle

import numpy as np
import pytest

from scam_jax.inference import label_map as labels
from scam_jax.inference import label_orders
from scam_jax.inference.label_map import UNMAPPED, LabelMap
from scam_jax.inference.label_orders import CELEBA_MASK_HQ, FACE_PARSING, LIP


def bytes_of(*values) -> np.ndarray:
    return np.array([values], np.uint8)


@pytest.mark.parametrize(
    ("text", "num_labels", "values", "mapped"),
    [
        ("", 5, (0, 4, 2), (0, 4, 2)),
        ("0|1,2,4,13|*", 3, (0, 1, 2, 3, 4, 13, 14, 255), (0, 1, 1, 2, 1, 1, 2, 2)),
        ("0|*", 2, (0, 1, 255), (0, 1, 1)),
        ("*|7", 2, (0, 7, 255), (0, 1, 0)),
        ("5|3, *", 2, (5, 3, 9), (0, 1, 1)),
        (" 0 | 255 ", 2, (0, 255), (0, 1)),
        ("0||2", 3, (0, 2), (0, 2)),
        ("0|1|", 3, (0, 1), (0, 1)),
    ],
)
def test_numbers_become_labels(text, num_labels, values, mapped):
    result = LabelMap(text, num_labels)(bytes_of(*values), "a.png")
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, bytes_of(*mapped))


def test_shape_and_identity():
    numbers = np.random.default_rng(0).integers(0, 3, (5, 7), np.uint8)
    np.testing.assert_array_equal(LabelMap("2|1|0", 3)(numbers, "a.png"), 2 - numbers)
    assert LabelMap("", 3)(numbers, "a.png") is numbers
    everything = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(LabelMap("", 256)(everything, "a.png"), everything)
    reversed_ = "|".join(map(str, range(255, -1, -1)))
    np.testing.assert_array_equal(LabelMap(reversed_, 256)(everything, "a"), everything[::-1])


def test_the_table_says_what_has_no_label():
    table = labels.table("0|2,9", 2)
    assert (table.dtype, table.shape) == (np.int16, (256,))
    assert {value: table[value] for value in (0, 2, 9)} == {0: 0, 2: 1, 9: 1}
    assert (np.delete(table, [0, 2, 9]) == UNMAPPED).all()
    np.testing.assert_array_equal(labels.table("", 3)[:5], [0, 1, 2, UNMAPPED, UNMAPPED])
    assert (labels.table("1|*", 2) != UNMAPPED).all()


@pytest.mark.parametrize(
    ("text", "num_labels", "message"),
    [
        ("0|a", 2, r"'0\|a': 'a' is not a number: write numbers with ','"),
        ("0|1-4", 2, r"'0\|1-4': '1-4' is not a number"),
        ("0|-1", 2, r"'-1' is not a number"),
        ("0|1,,2", 2, r"'' is not a number"),
        ("0|256", 2, r"'0\|256': 256 is above 255: remove it"),
        ("0|1,2|2", 3, r"'0\|1,2\|2': 2 is there twice: keep it in one group only"),
        ("0|1,01", 2, r"1 is there twice"),
        ("*|0|*", 3, r"'\*\|0\|\*': \* is there twice: keep it in one"),
        ("0|1|2", 5, r"'0\|1\|2': it has 3 groups.*data\.num_labels = 5: set .*to 3, or write"),
        ("0|1|2", 2, r"3 groups.*data\.num_labels = 2"),
        ("", 0, r"data\.num_labels = 0: use 1 … 256"),
        ("0|1", 257, r"data\.num_labels = 257: use 1 … 256"),
    ],
)
def test_maps_that_cannot_be_are_refused_at_once(text, num_labels, message):
    with pytest.raises(ValueError, match=message):
        LabelMap(text, num_labels)


@pytest.mark.parametrize(
    ("text", "num_labels", "values", "message"),
    [
        (
            "",
            5,
            (0, 7),
            r"^map a\.png holds the value 7, but config\.data\.num_labels = 5: set config\.data\."
            r"num_labels to at least 8, or correct the label map",
        ),
        ("", 2, (0, 2), r"holds the value 2, but .* at least 3,"),
        ("", 2, (9, 2, 1, 2), r"holds the values 2, 9, but .* at least 10,"),
        ("", 2, tuple(range(9)), r"values 2, 3, 4, 5, 6, …, but .* at least 9"),
        ("", 2, tuple(range(7)), r"values 2, 3, 4, 5, 6, but .* at least 7"),
        ("", 3, (0, 1, 255), r"the value 255, but .*at least 256, or correct .*data\.label_map"),
        (
            "",
            2,
            (0, 255),
            r"the value 255, .*data\.label_map='0\|255' and config\.data\.num_labels=2$",
        ),
        (
            "",
            2,
            (255,),
            r"the value 255, .*data\.label_map='0\|255' and config\.data\.num_labels=2$",
        ),
        (
            "0|255",
            2,
            (0, 254, 255),
            r"^map a\.png holds the value 254 without a label: name it in ",
        ),
        (
            "0|3",
            2,
            (1, 0, 2),
            r"values 1, 2 .*name them in config\.data\.label_map = '0\|3', or use '\*'",
        ),
    ],
)
def test_values_without_a_label(text, num_labels, values, message):
    with pytest.raises(ValueError, match=message):
        LabelMap(text, num_labels)(bytes_of(*values), "map a.png")


def test_a_map_goes_to_worker_processes_and_compares_by_what_it_says():
    label_map = LabelMap("0|*", 2)
    label_map(bytes_of(0, 9), "a.png")
    copy = pickle.loads(pickle.dumps(label_map))
    np.testing.assert_array_equal(copy(bytes_of(0, 9), "a.png"), bytes_of(0, 1))
    assert copy == label_map == LabelMap("0|*", 2)
    assert len({copy, label_map, LabelMap("", 2), LabelMap("0|1", 2)}) == 3


def test_lip_merges_to_body_face_and_background():
    face = {"hat", "hair", "sunglasses", "face"}
    expected = [0 if name == "background" else 1 if name in face else 2 for name in LIP]
    numbers = bytes_of(*range(20))
    merged = LabelMap(label_orders.BODY_FACE_BACKGROUND, 3)(numbers, "a.png")[0].tolist()
    assert merged == expected == [0, 1, 1, 2, 1, 2, 2, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2]
    merged = LabelMap(label_orders.BODY_BACKGROUND, 2)(numbers, "a.png")[0].tolist()
    assert merged == [0] + 19 * [1]


def test_orders_of_names():
    assert (len(LIP), len(set(LIP))) == (20, 20)
    assert len(CELEBA_MASK_HQ) == len(FACE_PARSING) == 19
    text = labels.reorder(FACE_PARSING, CELEBA_MASK_HQ)
    renumbered = LabelMap(text, 19)(bytes_of(*range(19)), "a.png")[0]
    assert tuple(CELEBA_MASK_HQ[number] for number in renumbered) == FACE_PARSING
    # Spelt out for the numbers that differ most: hair, hat, glasses and necklace.
    assert [renumbered[number] for number in (17, 18, 6, 15)] == [13, 14, 3, 16]


def test_reordering_to_names_that_the_source_lacks():
    text = labels.reorder(("ground", "cat"), ("ground", "dog", "cat"))
    assert text == "0||1"
    np.testing.assert_array_equal(LabelMap(text, 3)(bytes_of(0, 1), "a.png"), bytes_of(0, 2))


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (("a", "b", "c"), ("a", "c"), r"target does not have b: add the name there, or merge"),
        (("a", "b", "a"), ("a", "b"), r"source has a more than once"),
        (("a",), ("a", "b", "b"), r"target has b more than once"),
    ],
)
def test_orders_that_cannot_be(source, target, message):
    with pytest.raises(ValueError, match=message):
        labels.reorder(source, target)


@pytest.mark.parametrize(
    ("order", "text", "missing"),
    [
        (label_orders.LIP, label_orders.LIP_CLOTHES, set()),
        (label_orders.ATR, label_orders.ATR_CLOTHES, {"outerwear"}),
        (label_orders.MEDIAPIPE, label_orders.MEDIAPIPE_CLOTHES, {"outerwear", "bottom"}),
    ],
)
def test_labels_of_other_parsers_become_those_of_ccp(order, text, missing):
    expected = {"hair": "hair", "coat": "outerwear", "pants": "bottom", "skirt": "bottom"}
    expected |= {"upper_clothes": "top", "clothes": "top", "dress": "dress", "hat": "accessories"}
    expected |= {"face": "skin", "face_skin": "skin", "left_arm": "skin", "right_shoe": "shoes"}
    names = label_orders.joined(label_orders.parts_of("folder", LabelMap(text, 9)))
    merged = LabelMap(text, 9)(bytes_of(*range(len(order))), "a.png")[0]
    found = {name: names[label] for name, label in zip(order, merged, strict=True)}
    assert found == {**found, **{name: expected[name] for name in order if name in expected}}
    assert missing <= {*names} - {*found.values()}
    page = (pathlib.Path(__file__).parents[1] / "docs" / "data.md").read_text()
    assert text in page.replace("\\|", "|")
