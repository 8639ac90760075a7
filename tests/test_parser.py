"""The parser: it learns, resumes, is judged, and draws the label maps of photos."""

import functools
import json
import os

import jax
import numpy as np
import pytest
from helpers import small
from helpers.loop import mesh_of
from ml_collections import ConfigDict, FrozenConfigDict
from PIL import Image

from configs import ccp
from scam_jax import TrainedModel, images
from scam_jax.commands import label
from scam_jax.commands import parser as command_of_parser
from scam_jax.evaluation import iou
from scam_jax.evaluation.data import EvaluationData
from scam_jax.inference import from_run, label_files, parsing, photos
from scam_jax.inference.label_map import LabelMap
from scam_jax.inference.label_orders import CCP_CLOTHES_NAMES
from scam_jax.inference.parsing import Parsed, PhotoParser
from scam_jax.inference.resizing import resize_nearest
from scam_jax.models import parser
from scam_jax.training import parser_step
from scam_jax.training.parser_step import PARSER
from scam_jax.training.step import Step


def parser_config(**overrides):
    return parser_step.parser_config(small.config(**overrides))


def coloured(count, labels=(0, 1), size=16, seed=0):
    """Photos whose colours tell the labels: stripes of random widths."""
    random = np.random.default_rng(seed)
    maps = np.stack(
        [
            np.sort(random.choice(labels, size))[:, None].repeat(size, 1).T.astype(np.uint8)
            for _ in range(count)
        ]
    )
    shades = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [0, 0, 0]], np.int64)
    noise = random.integers(-30, 30, (*maps.shape, 3))
    return {"image": np.clip(shades[maps] + noise, 0, 255).astype(np.uint8), "label": maps}


@functools.cache
def compiled_step(config: FrozenConfigDict, num_devices: int) -> Step:
    compile_step = parser_step.step_compiler(ConfigDict(config), mesh_of(num_devices))
    return compile_step(parser_step.abstract(config), coloured(config.train.batch_size))


def trained(config, batches, num_devices=1):
    step, state = compiled_step(FrozenConfigDict(config), num_devices), parser_step.create(config)
    for batch in batches:
        state, metrics = step(state, batch)
    return state, {name: float(value) for name, value in metrics.items()}


def fitting(**overrides):
    return parser_config(parser__num_steps=100, parser__learning_rate=5e-3, **overrides)


@pytest.fixture(scope="module")
def fitted():
    """A parser of four photos, which show the labels 0 and 1 of three."""
    config, batch = fitting(), coloured(4)
    state, metrics = trained(config, [batch] * config.parser.num_steps)
    return config, batch, state, metrics


def test_it_fits_four_photos(fitted):
    config, batch, state, metrics = fitted
    assert metrics["accuracy"] > 0.99
    draw = PhotoParser(config, state.params[PARSER])
    for image, labels in zip(batch["image"], batch["label"], strict=True):
        drawn = draw(image)
        assert (drawn.labels == labels).mean() > 0.99
        assert drawn.labels.dtype == np.uint8
        assert 0.9 < drawn.confidence <= 1


def test_a_parser_with_other_labels_than_its_run_is_refused(tmp_path):
    own, run = small.config().data, small.config(data__label_map="0|2|1").data
    from_run._require_same_labels(own, small.config().data, tmp_path)
    with pytest.raises(ValueError, match=r"label_map = '', and its run has '0\|2\|1' now: move"):
        from_run._require_same_labels(own, run, tmp_path)


def test_what_is_no_photo_is_refused(fitted, monkeypatch):
    config, batch, state, _ = fitted
    model = TrainedModel(small.config(), {})
    monkeypatch.setattr(TrainedModel, "parser", PhotoParser(config, state.params[PARSER]))
    assert (model.labels_of(batch["image"][0]) == batch["label"][0]).mean() > 0.99
    for array in (batch["image"][0] / 255, batch["image"][0].astype(int), batch["label"][0]):
        with pytest.raises(ValueError, match=r"need uint8 \[H, W, 3\]"):
            model.labels_of(array)


def test_a_label_that_it_never_saw_is_not_drawn(fitted):
    config, _, state, _ = fitted
    others = coloured(2, labels=(0, 2), seed=5)
    assert not (PhotoParser(config, state.params[PARSER])(others["image"][0]).labels == 2).any()


def test_a_photo_of_another_size_has_a_map_of_its_own_size(fitted):
    config, batch, state, _ = fitted
    large = batch["image"][0].repeat(3, 0).repeat(5, 1)
    drawn = PhotoParser(config, state.params[PARSER])(large)
    assert drawn.labels.shape == (48, 80)
    assert (resize_nearest(drawn.labels, 16, 16) == batch["label"][0]).mean() > 0.99


def test_enlarged_and_resized_as_label_maps_it_is_where_it_was():
    small = np.random.default_rng(0).integers(2, size=(8, 6)).astype(np.float32)
    large = parsing._enlarged(small, 80, 90)
    assert large.shape == (80, 90)
    np.testing.assert_array_equal(resize_nearest((large > 0.5).astype(np.uint8), 8, 6), small)
    edge = parsing._enlarged(np.float32([[0, 0, 1, 1]]), 10, 400)[0]
    assert abs(np.argmax(edge > 0.5) - 150) <= 1, "half way from the left ends of pixels 1 and 2"


def test_two_devices_equal_one():
    config = fitting()
    batches = [coloured(4, labels=(0, 1, 2), seed=i) for i in range(3)]
    one, of_one = trained(config, batches)
    two, of_two = trained(config, batches, num_devices=2)
    assert of_one == pytest.approx(of_two, rel=1e-3)
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(two.params), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4)


def test_pixels_that_are_left_out_change_nothing():
    config, batch = fitting(data__ignore_label=255), coloured(4)
    batch["label"][:, :5] = config.data.num_labels
    assert trained(config, [batch])[1]["cross_entropy"] > 0.1
    all_out = {**batch, "label": np.full_like(batch["label"], config.data.num_labels)}
    _, metrics = trained(config, [all_out])
    assert metrics["cross_entropy"] == 0
    assert metrics["gradient_norm"] == 0


def test_figures_by_hand():
    confusion = np.array([[6, 2, 0], [1, 3, 0], [0, 0, 0]])
    figures = {(f.metric, f.part): f.mean for f in iou.figures_of(confusion, 5)}
    assert figures == {
        ("mean IoU", ""): pytest.approx((6 / 9 + 3 / 6) / 2),
        ("accuracy", ""): pytest.approx(9 / 12),
        ("IoU", "label 0"): pytest.approx(6 / 9),
        ("IoU", "label 1"): pytest.approx(3 / 6),
    }


def test_padding_and_pixels_that_are_left_out_do_not_count(fitted):
    config, batch, state, _ = fitted
    labels = batch["label"].copy()
    labels[0, :3] = config.data.num_labels
    examples = [{"image": i, "label": m} for i, m in zip(batch["image"], labels, strict=True)]

    def padded(source):
        whole = {name: np.stack([e[name] for e in source]) for name in ("image", "label")}
        more = {name: np.concatenate([x, 0 * x]) for name, x in whole.items()}
        yield {**more, "mask": np.repeat(np.float32([1, 0]), 4)}

    data = EvaluationData("d", "test", examples, {}, (), None, padded)
    evaluator = iou.ParserEvaluator(parser.build(config), mesh_of(2), data)
    found = {
        (f.metric, f.part): f.mean for f in evaluator.evaluate(state.params[PARSER], 7).figures
    }
    assert found["accuracy", ""] > 0.99
    assert ("IoU", "label 2") not in found


@pytest.mark.parametrize(("text", "ignored"), [("", -1), ("3,1|7|*", -1), ("3,1|7|8", 255)])
def test_a_written_label_map_is_read_as_the_same_labels(tmp_path, text, ignored):
    config = small.config(data__label_map=text, data__ignore_label=ignored)
    labels = np.random.default_rng(0).integers(0, 3 + (ignored >= 0), (9, 7)).astype(np.uint8)
    file = tmp_path / "deep" / "a.png"
    label_files.write(file, labels, config.data)
    numbers = label_files.read_numbers(file)
    np.testing.assert_array_equal(LabelMap.of(config.data)(numbers, "a"), labels)


def test_a_label_without_a_number_has_no_colour_in_the_palette(tmp_path):
    config = small.config(data__label_map="0|255|")
    label_files.write(tmp_path / "a.png", np.array([[0, 1]], np.uint8), config.data)
    with Image.open(tmp_path / "a.png") as picture:
        colors = np.reshape(picture.getpalette(), (-1, 3))
    np.testing.assert_array_equal(colors[[0, 255]], images.palette(3)[:2])


def test_a_written_label_map_has_the_colours_of_the_list(tmp_path):
    colors = tmp_path / "colors.txt"
    colors.write_text("#000000 background\n#ff0000 hair\n#00ff00 skin\n")
    config = small.config(data__colors=str(colors))
    label_files.write(tmp_path / "a.png", np.array([[0, 1, 2]], np.uint8), config.data)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "RGB"
        assert np.asarray(picture).tolist() == [[[0, 0, 0], [255, 0, 0], [0, 255, 0]]]


def test_a_label_without_a_number_is_never_drawn(fitted):
    """However sure of it the parser is."""
    params = fitted[2].params[PARSER]
    params = {**params, "last": {**params["last"], "bias": np.float32([0, 100, 0])}}
    image = coloured(1)["image"]
    for label_map, expected in (("", {1}), ("0||1", {0, 2})):
        config = parser_config(data__label_map=label_map)
        draw = PhotoParser(config, params)
        assert {*np.unique(draw(image[0]).labels)} <= expected
        assert {*np.unique(draw.draw_batch(image))} <= expected
    assert LabelMap.of(config.data).numbers.tolist() == [0, -1, 1]


def test_the_config_augments_in_any_case():
    assert parser_config().data.augmentation == "basic"
    assert parser_config(data__augmentation="crop").data.augmentation == "crop"
    assert json.loads(parser_config().to_json())["train"]["num_steps"] == 4


def test_what_cannot_be_trained_is_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match=r"batch_size = 4: must be a multiple of .* devices, 8"):
        command_of_parser.train(small.config(), tmp_path, None, None)
    (tmp_path / "weights.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"is a release: give the run that it was made of"):
        command_of_parser.train(small.config(), tmp_path, None, None)
    assert not (tmp_path / "parser").exists()


def test_photos_are_labelled_whatever_they_are_called(fitted, tmp_path):
    batch = fitted[1]
    for name in (b"n\xff.png", b"a,b c.png", b".hidden.png", b"notes.txt"):
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
            Image.fromarray(batch["image"][0]).save(file, "PNG")
    assert len(label._photos(tmp_path)) == 2
    label_all(fitted, tmp_path)
    assert len([*(tmp_path / "labels").iterdir()]) == 2
    text = (tmp_path / "labels_to_check" / "confidence.csv").read_text(encoding="utf-8")
    assert '"a,b c.png",' in text
    assert len(text.splitlines()) == 3
    (tmp_path / "a,b c.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"would share a,b c.png: rename one"):
        label._photos(tmp_path)


def label_all(fitted, folder):
    config, _, state, _ = fitted
    file = folder / label.TO_CHECK / label.CONFIDENCES
    parser = PhotoParser(config, state.params[PARSER])
    label._label(parser, folder, label._photos(folder), label._Confidences(file))


def test_pages_show_all_that_was_drawn_whenever_it_was(fitted, tmp_path, monkeypatch):
    monkeypatch.setattr(label, "PAGE", 2)
    for name in "abcde":
        Image.fromarray(fitted[1]["image"][0]).save(tmp_path / f"{name}.png")
    write = label_files.write

    def stopping(file, *others):
        write(file, *others)
        if file.stem == "c":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(label_files, "write", stopping)
        with pytest.raises(KeyboardInterrupt):
            label_all(fitted, tmp_path)
    label_all(fitted, tmp_path)
    to_check = tmp_path / "labels_to_check"
    lines = (to_check / "confidence.csv").read_text().splitlines()[1:]
    assert sorted(line[0] for line in lines) == ["a", "b", "c", "d", "e"]
    assert len([*to_check.glob("page_*.jpg")]) == 3
    (tmp_path / "a.png").unlink()
    (tmp_path / "b.png").unlink()
    label_all(fitted, tmp_path)
    assert len([*to_check.glob("page_*.jpg")]) == 2, "the third page is gone"
    (to_check / "confidence.csv").write_text("photo,confidence\nd.png;0.9\n")
    with pytest.raises(ValueError, match=r"confidence.csv, line 2: not a photo and its confidence"):
        label_all(fitted, tmp_path)


def test_the_least_confident_photo_comes_first(tmp_path):
    for name, shade in (("a", 200), ("b", 50), ("c", 120)):
        Image.new("RGB", (16, 16), (shade,) * 3).save(tmp_path / f"{name}.png")

    class Judge:
        config, label_names = parser_config(), ()

        def __call__(self, photo):
            return Parsed(np.zeros(photo.shape[:2], np.uint8), photo.mean() / 255)

    file = tmp_path / label.TO_CHECK / label.CONFIDENCES
    label._label(Judge(), tmp_path, label._photos(tmp_path), label._Confidences(file))
    rows = file.read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == ["b.png", "c.png", "a.png"]


def test_the_legend_has_the_numbers_of_files(monkeypatch):
    captions = []
    captioned = images.captioned

    def noting(image, caption, *others):
        captions.append((caption, tuple(image[0, 0].tolist())))
        return captioned(image, caption, *others)

    monkeypatch.setattr(images, "captioned", noting)
    colors = [tuple(color) for color in images.palette(9).tolist()]
    drawn = label._legend(ccp.get_config("size=small").data, CCP_CLOTHES_NAMES)
    assert captions[:2] == [("0 background", colors[0]), ("19 hair", colors[1])]
    assert len(captions) == 9
    assert colors[8] in {tuple(color) for color in drawn.reshape(-1, 3).tolist()}


def test_what_may_not_be_meant_is_said(fitted, tmp_path, caplog):
    wide = Image.fromarray(fitted[1]["image"][0]).resize((32, 16))
    wide.save(tmp_path / "wide.png")
    wide.resize((17, 16)).save(tmp_path / "almost.png")
    (tmp_path / "phone.heic").write_bytes(b"")
    label_all(fitted, tmp_path)
    assert "passed over 1 of 3 files, such as phone.heic: photos end in .png" in caplog.text
    assert "wide.png is 16×32, so it is stretched to 16×16: crop it first" in caplog.text
    assert "almost.png" not in caplog.text


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_turned_photo_keeps_the_label_map_that_was_drawn(fitted, tmp_path, orientation):
    config, batch, state, _ = fitted
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = Image.fromarray(batch["image"][0]).resize((48, 48), Image.Resampling.NEAREST)
    photo.save(tmp_path / "a.png", exif=exif)
    label_all(fitted, tmp_path)
    assert (tmp_path / label.TO_CHECK / "page_001.jpg").is_file()
    files_of_pair = tmp_path / "a.png", tmp_path / label.LABELS / "a.png"
    picture = photos.read_picture(*files_of_pair, config.data)
    drawn = PhotoParser(config, state.params[PARSER])(photos.read_photo(tmp_path / "a.png"))
    np.testing.assert_array_equal(picture.labels, resize_nearest(drawn.labels, 16, 16))
