"""Recipes: what comes from whom, in which shares; files of recipes; what is wrong with one."""

import base64
import json
import struct
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import named_model, small
from helpers.named_model import NAMES
from PIL import Image

from scam_jax import images, models
from scam_jax.commands import use
from scam_jax.examples import Picture
from scam_jax.inference import generation, recipe, recipe_file, sources
from scam_jax.inference.model import TrainedModel
from scam_jax.inference.recipe import Recipe
from scam_jax.training import state


@pytest.fixture(scope="module")
def model():
    return named_model.build()


def picture(seed, labels=3):
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return Picture(image, random.integers(0, labels, (16, 16), dtype=np.uint8))


@pytest.fixture(scope="module")
def people():
    return {"target": picture(0), "subject": picture(1), "third": picture(2)}


@pytest.mark.parametrize("absent", [sources.TARGET, sources.GUESS, "top<hair"])
def test_a_transfer_is_a_recipe_to_the_bit(model, people, absent):
    subject = people["subject"]._replace(labels=np.minimum(people["subject"].labels, 1))
    target = people["target"]
    chosen = recipe.transfer(subject, target, 3)
    chosen = Recipe(chosen.pictures, chosen.givers, absent=absent)
    expected = model.transfer(*subject, *target, absent=absent)
    np.testing.assert_array_equal(recipe.make(model, chosen), expected)


def test_without_givers_it_is_a_reconstruction(model, people):
    expected = model.reconstruct(*people["target"])
    np.testing.assert_array_equal(recipe.make(model, Recipe(people)), expected)


def test_shares_blend_the_latents_of_their_label_only(model, people):
    chosen = Recipe(people, {1: {"subject": 0.25}, 2: {"subject": 0.5, "third": 0.5}})
    target, subject, third = (
        np.asarray(recipe.encoded(model, people[name])) for name in ("target", "subject", "third")
    )
    expected = target.copy()
    expected[:, 3:5] = 0.75 * target[:, 3:5] + 0.25 * subject[:, 3:5]
    expected[:, 5:7] = 0.5 * (subject + third)[:, 5:7]
    found = np.asarray(recipe.latents(model, chosen))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(found[:, :3], target[:, :3])


@pytest.mark.parametrize("family", models.FAMILIES)
def test_blending_is_mixing_where_a_share_is_whole(family):
    config = small.config(f"model={family}")
    networks = models.build(config)
    shapes = jax.eval_shape(
        lambda: generation.encode(
            networks,
            state.create(config, networks).eval_variables(),
            jnp.zeros((1, 16, 16, 3), jnp.uint8),
            jnp.zeros((1, 16, 16), jnp.uint8),
            generation.image_keys(0, np.zeros(1, np.int32)),
        )
    )
    random = np.random.default_rng(0)

    def drawn():
        return jax.tree.map(lambda x: random.normal(size=x.shape).astype(np.float32), shapes)

    subject, target = drawn(), drawn()
    for shares in ([0.0, 1.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]):
        taken = sources.published(np.array(shares) > 0)
        mixed = generation.mix(networks, taken, subject, target)
        share = np.array([shares], np.float32)
        blended = generation.blend(networks, taken[None], share, [subject], target)
        jax.tree.map(np.testing.assert_array_equal, blended, mixed)
    taken = sources.published(np.ones(3, bool))
    half = np.full((1, 3), 0.5, np.float32)
    blended = generation.blend(networks, taken[None], half, [subject], target)
    for a, b, c in zip(*map(jax.tree.leaves, (blended, subject, target)), strict=True):
        np.testing.assert_allclose(a, (b + c) / 2, rtol=1e-5, atol=1e-6)


def test_a_loop_goes_from_the_target_to_the_recipe_and_back(model, people):
    chosen = Recipe(people, {1: {"subject": 1.0}, 2: {"third": 0.5}})
    frames = recipe.loop(model, chosen, 4)
    np.testing.assert_array_equal(frames[0], model.reconstruct(*people["target"]))
    np.testing.assert_array_equal(frames[2], recipe.make(model, chosen))
    np.testing.assert_array_equal(frames[1], frames[3])
    only = recipe.loop(model, chosen, 2, label=1)
    assert np.any(only[0] != frames[0]), "label 2 stays"
    np.testing.assert_array_equal(only[1], frames[2])


def test_remarks_say_what_is_missing_and_what_stands_in(model, people):
    bald = people["subject"]._replace(labels=np.where(people["subject"].labels == 1, 0, 2))
    chosen = Recipe({**people, "subject": bald}, {1: {"subject": 1.0}, 2: {"subject": 1.0}})
    said = "the subject has no hair, which the label map shows: the target's stays"
    assert recipe.remarks(model, chosen) == [(1, said)]
    painted = people["target"].labels.copy()
    only = Picture(people["target"].image, np.minimum(painted, 1))
    chosen = Recipe({"target": only}, labels=painted)
    guess = "the target has nothing of this label: a guess stands in"
    assert recipe.remarks(model, chosen) == [(2, guess)]
    given = {name: only for name in ("target", "subject")}
    chosen = Recipe(given, {2: {"subject": 1.0}}, labels=painted)
    guess = "the subject has no top, which the label map shows: a guess stands in"
    assert recipe.remarks(model, chosen) == [(2, guess)]


def test_a_file_with_pictures_in_it_gives_the_same_pixels(model, people, tmp_path):
    labels = np.roll(people["target"].labels, 3, axis=0)
    chosen = Recipe(people, {1: {"subject": 1 / 3}, 2: {"third": 1.0}}, labels, "top<hair")
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(recipe_file.to_json(chosen, NAMES)))
    assert json.loads(file.read_text())["givers"] == {
        "hair": {"subject": 1 / 3},
        "top": {"third": 1.0},
    }
    read = recipe_file.read(file, model)
    np.testing.assert_array_equal(recipe.make(model, read), recipe.make(model, chosen))


def test_a_file_with_paths_is_read_from_its_folder(model, tmp_path, monkeypatch):
    values = {"pictures": {}, "givers": {"hair": {"subject": 1}}}
    for i, name in enumerate(("target", "subject")):
        image, labels = picture(i)
        Image.fromarray(image).save(tmp_path / f"{name}.png")
        Image.fromarray(labels).save(tmp_path / f"{name}_labels.png")
        values["pictures"][name] = {"photo": f"{name}.png", "labels": f"{name}_labels.png"}
    (tmp_path / "recipe.json").write_text(json.dumps(values))
    monkeypatch.setattr(TrainedModel, "load", lambda *_: model)
    use.from_recipe(tmp_path, tmp_path / "recipe.json", tmp_path / "out.png")
    expected = model.transfer(*picture(1), *picture(0), labels=["hair"])
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), expected)


def values(people, **changes):
    return {**recipe_file.to_json(Recipe(people), NAMES), **changes}


def embedded(array):
    return recipe_file.to_json(Recipe({"target": Picture(array, array[..., 0])}))["pictures"][
        "target"
    ]["photo"]


def png_of_4_bits():
    """A grey PNG as optimizers of PNG files write it, which Pillow cannot."""

    def chunk(kind, content):
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", 16, 16, 4, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\x11" * 8) * 16)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b"")
    content = b"\x89PNG\r\n\x1a\n" + b"".join(parts)
    return "data:image/png;base64," + base64.b64encode(content).decode()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gives": {}}, "unknown key 'gives': a recipe has pictures, givers, labels, absent"),
        ({"pictures": []}, r"pictures: \{…\} is needed, not \[\]"),
        ({"pictures": {}}, "pictures.target is missing"),
        ({"pictures": {"target": {"labels": "b.png"}}}, "pictures.target: a photo is needed"),
        ({"givers": {"hat": {"subject": 1}}}, "there is no label 'hat': this model has background"),
        (
            {"givers": {"hair": {"third": 1}, "1": {"subject": 1}}},
            "givers.1: label 1 is there twice: keep one of the two",
        ),
        ({"givers": {"hair": 1}}, r"givers.hair: \{…\} is needed"),
        ({"givers": {"hair": {"fourth": 1}}}, "givers.hair: 'fourth' is no giver of this recipe"),
        ({"givers": {"hair": {"target": 1}}}, "'target' is no giver .* has subject, third"),
        ({"givers": {"hair": {"third": 1.5}}}, "givers.hair.third = 1.5: a number from 0 to 1"),
        ({"givers": {"hair": {"third": True}}}, "givers.hair.third = True: a number from 0 to 1"),
        ({"givers": {"hair": {"third": 0.7, "subject": 0.7}}}, "the shares sum to 1.4"),
        ({"absent": "hat<hair"}, "there is no label 'hat'"),
        ({"absent": 3}, "absent: a text is needed, not 3"),
        ({"labels": "map.png"}, "labels: need data:image/png;base64,…"),
        ({"labels": "data:image/png;base64,%%"}, "labels: not base64"),
        ({"labels": "data:image/png;base64,AAAA"}, r"cannot read labels \(it is not a picture\)"),
        ({"labels": embedded(np.zeros((16, 16, 3), np.uint8))}, "labels: .* one channel"),
        ({"labels": png_of_4_bits()}, "labels: a PNG of 4 bits a pixel: save it with 8"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_said_in_one_line(model, people, tmp_path, changes, message):
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(values(people, **changes)))
    with pytest.raises(ValueError, match=message) as error:
        recipe_file.read(file, model)
    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)


def test_label_maps_and_pictures_of_another_size_are_refused(model, people):
    wide = np.zeros((16, 20), np.uint8)
    for labels, message in (
        (wide, "labels is 16×20: need 16×16"),
        (np.full((16, 16), 3, np.uint8), "labels has the label 3: need 0 … 2"),
    ):
        with pytest.raises(ValueError, match=message):
            recipe_file.assemble({}, people, labels, model)
    wrong = values({"target": Picture(images.colorize(wide, 3), wide)})
    with pytest.raises(ValueError, match=r"pictures.target.photo is 16×20: need 16×16"):
        recipe_file.from_json(wrong, model)


def test_paths_are_refused_without_a_folder(model):
    with pytest.raises(ValueError, match="photo does not lie in the recipe"):
        recipe_file.from_json({"pictures": {"target": {"photo": "/etc/passwd"}}}, model)
