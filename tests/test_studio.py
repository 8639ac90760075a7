"""The studio over HTTP, without a browser: what it answers."""

import concurrent.futures
import io
import json
import os
import re
import signal
import socket
import urllib.request
from unittest import mock

import numpy as np
import pytest
from helpers import small
from helpers.named_model import NAMES
from helpers.program import Process, command, ended, start, wait_for, wait_until
from helpers.studio import (  # noqa: F401 fixtures
    ASKED,
    chosen,
    client,
    desk,
    example,
    files_below,
    message,
    model,
    pixels,
    plain,
    png,
    send,
    upload,
)
from PIL import Image

from scam_jax import models
from scam_jax.commands import studio, use
from scam_jax.examples import Picture
from scam_jax.inference import attention_maps, programs, recipe, recipe_file, release
from scam_jax.inference.model import TrainedModel
from scam_jax.inference.parsing import Parsed
from scam_jax.inference.release import Release
from scam_jax.studio import server
from scam_jax.studio.library import MOST_OWN, Library
from scam_jax.training import state


def test_the_page_says_what_the_model_is(client):
    about = client.get("/api/about").json()
    assert about["groups"] == {"test": 4, "validation": 1}
    assert [label["name"] for label in about["labels"]] == [*NAMES]
    assert (about["height"], about["width"], about["has_parser"]) == (16, 16, False)
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for file in ("main.js", "style.css", "icon.svg"):
        assert f"/page/{file}" in page.text
        assert client.get(f"/page/{file}").status_code == 200


def test_everything_that_the_page_loads_is_its_own(client):
    assert "default-src 'none'" in client.get("/").headers["content-security-policy"]
    for file in ("main.js", "style.css", "people.js", "api.js"):
        assert "://" not in client.get(f"/page/{file}").text


def test_pictures_and_label_maps(client):
    shown = pixels(client.get("/api/pictures/test/3.png").content)
    np.testing.assert_array_equal(shown, example(1)["target_image"])
    labels = client.get("/api/pictures/validation/0.labels").content
    np.testing.assert_array_equal(np.frombuffer(labels, np.uint8), plain(2)["label"].ravel())


def test_a_picture_is_that_of_its_recipe(client, model):
    told, content = message(send(client, "generate", ASKED))
    np.testing.assert_array_equal(pixels(content), recipe.make(model, chosen()))
    painted = np.roll(example(0)["target_label"], 2)
    _, content = message(send(client, "generate", ASKED, painted.tobytes()))
    np.testing.assert_array_equal(pixels(content), recipe.make(model, chosen(painted)))
    assert told["remarks"] == []


def test_the_true_result_is_beside_with_the_psnr(client):
    whole = {**ASKED, "givers": {str(i): {"subject": 1.0} for i in range(1, len(NAMES))}}
    told, content = message(send(client, "generate", whole))
    truth = pixels(send(client, "truth", ASKED).content)
    np.testing.assert_array_equal(truth, example(0)["transfer_image"])
    error = np.square(truth.astype(float) - pixels(content)).mean()
    assert told["psnr"] == pytest.approx(10 * np.log10(255**2 / error), abs=0.01)
    assert "psnr" not in message(send(client, "generate", ASKED))[0], "not the whole subject"
    painted = np.roll(example(0)["target_label"], 2).tobytes()
    assert "psnr" not in message(send(client, "generate", whole, painted))[0]
    other = {**whole, "pictures": {"target": "test/3", "subject": "test/0"}}
    assert "psnr" not in message(send(client, "generate", other))[0]
    assert "not known" in send(client, "truth", other).json()["error"]


def test_what_the_first_compilation_raises_ends_the_studio(desk, monkeypatch):
    def fail(tell):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(desk, "warm_up", fail)
    app = server.create(desk, [])
    raised = pytest.raises(RuntimeError, match="out of memory")
    with socket.create_server(("127.0.0.1", 0)) as listener, raised:
        server.Server(app).serve_on(listener)


def test_ctrl_c_ends_it_at_once_before_it_is_ready_or_twice(desk, monkeypatch, capsys):
    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)
    at_work = server.Server(server.create(desk, []))
    at_work.handle_exit(signal.SIGINT, None)
    assert ended == [130]
    assert capsys.readouterr().err == "interrupted\n"
    at_work.should_exit, at_work.studio.is_ready = False, True
    at_work.handle_exit(signal.SIGINT, None)
    assert (at_work.should_exit, ended) == (True, [130]), "after the work that it does"
    at_work.handle_exit(signal.SIGINT, None)
    assert ended == [130, 130]


def test_what_is_saved_repeats_to_the_same_pixels(client, desk, model, tmp_path, monkeypatch):
    painted = np.roll(example(0)["target_label"], 2)
    saved = send(client, "save", ASKED, painted.tobytes()).json()
    shown = pixels(message(send(client, "generate", ASKED, painted.tobytes()))[1])
    place = f"/api/saved/{saved['folder']}"
    np.testing.assert_array_equal(pixels(client.get(f"{place}/picture.png").content), shown)
    np.testing.assert_array_equal(pixels(client.get(f"{place}/labels.png").content), painted)
    content = client.get(f"{place}/recipe.json").content

    file = tmp_path / "downloaded.json"
    file.write_bytes(content)
    monkeypatch.setattr(TrainedModel, "load", lambda *_: model)
    use.from_recipe(tmp_path, file, tmp_path / "out.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), shown)

    loaded = client.post("/api/load", content=content).json()
    again = {key: loaded[key] for key in ("pictures", "givers", "absent")}
    labels = bytes(loaded["labels"])
    np.testing.assert_array_equal(
        pixels(message(send(client, "generate", again, labels))[1]), shown
    )


def test_a_saved_label_map_has_the_numbers_of_files(client, desk, model, monkeypatch):
    """So that the model, which maps numbers of files to labels, reads the same labels."""
    monkeypatch.setitem(model.config.data, "label_map", "3|7|1")
    saved = send(client, "save", ASKED).json()
    place = desk.folder / saved["folder"]
    picture = model.read(place / "picture.png", place / "labels.png")
    np.testing.assert_array_equal(picture.labels, example(0)["target_label"])
    monkeypatch.setitem(model.config.data, "label_map", "3||1")
    before = sorted(desk.folder.iterdir())
    assert (
        "has label 1, which has no number in files" in send(client, "save", ASKED).json()["error"]
    )
    assert sorted(desk.folder.iterdir()) == before, "nothing is left of what was refused"


def test_the_contact_sheet_has_what_was_saved(client):
    assert "nothing was saved yet" in client.get("/api/sheet.png").json()["error"]
    for _ in range(2):
        send(client, "save", ASKED)
    assert pixels(client.get("/api/sheet.png").content).shape == (34, 70, 3)


@pytest.mark.parametrize("form", ["gif", "webp"])
def test_a_loop(client, model, form):
    answer = send(client, "loop", {**ASKED, "form": form, "count": 6})
    loop = Image.open(io.BytesIO(answer.content))
    assert (loop.format, loop.n_frames) == (form.upper(), 6)
    if form == "webp":
        loop.seek(3)
        expected = recipe.make(model, chosen())
        np.testing.assert_array_equal(np.asarray(loop.convert("RGB")), expected)


def test_attention_maps(client, model):
    told, content = message(send(client, "attention", ASKED))
    people = chosen().pictures
    assert told["givers"] == [["target", 0], ["subject", 1], ["subject", 2]]
    assert told["latents"] == [3, 2, 2]
    assert [*told["shapes"]] == ["", "target", "subject"]
    maps, start = {}, 0
    for role, shape in told["shapes"].items():
        size = np.prod(shape)
        maps[role] = np.frombuffer(content, np.uint8, size, start).reshape(shape)
        start += size
    assert start == len(content)
    mixed = recipe.latents(model, chosen())
    drawn = attention_maps.maps_of_latents(model, people["target"].labels, mixed)
    expected = drawn[told["modulations"][-1]]
    np.testing.assert_array_equal(maps[""], np.round(255 * np.clip(expected, 0, 1)))
    assert maps["subject"].max() == 255
    wrong = send(client, "attention", {**ASKED, "block": "block 9"})
    assert "there is no map" in wrong.json()["error"]


def test_a_photo_of_ones_own(client, desk, model, tmp_path):
    image, labels = plain(5)["image"], plain(5)["label"]
    big = [np.repeat(np.repeat(x, 3, 0), 3, 1) for x in (image, labels)]
    name = upload(client, png(big[0]), png(big[1])).json()["name"]
    Image.fromarray(big[0]).save(tmp_path / "a.png")
    Image.fromarray(big[1]).save(tmp_path / "b.png")
    expected = model.read(tmp_path / "a.png", tmp_path / "b.png")
    np.testing.assert_array_equal(
        pixels(client.get(f"/api/pictures/{name}.png").content), expected.image
    )
    told, _ = message(
        send(client, "generate", {**ASKED, "pictures": {"target": name}, "givers": {}})
    )
    assert told["remarks"] == []
    assert files_below(desk.folder) == [], "uploads are not kept"


def test_a_photo_without_a_label_map_gets_one_of_the_parser(client, desk, monkeypatch):
    parsed = np.eye(16, dtype=np.uint8)
    parser = lambda photo: Parsed(parsed, 0.9)  # noqa: E731
    monkeypatch.setitem(vars(desk.model), "parser", parser)
    answer = upload(client, png(plain(5)["image"])).json()
    assert answer["parsed"]
    labels = client.get(f"/api/pictures/{answer['name']}.labels").content
    np.testing.assert_array_equal(np.frombuffer(labels, np.uint8).reshape(16, 16), parsed)


def test_two_people_at_once(client, model):
    others = {**ASKED, "pictures": {"target": "test/3", "subject": "test/2"}}
    expected = [message(send(client, "generate", asked))[1] for asked in (ASKED, others)]
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        asked = [ASKED, others] * 6
        answers = threads.map(lambda one: message(send(client, "generate", one))[1], asked)
        assert [*answers] == expected * 6


def test_the_library_forgets_the_oldest_of_ones_own():
    library = Library({})
    names = []
    for i in range(MOST_OWN + 1):
        image = np.full((2, 2, 3), i, np.uint8)
        names.append(library.add(Picture(image, image[..., 0])))
    assert library[names[-1]].image[0, 0, 0] == MOST_OWN
    with pytest.raises(ValueError, match="choose or drop it again"):
        library[names[0]]


def test_a_port_in_use_is_one_line(tmp_path):
    with (
        studio._listening("127.0.0.1", 0) as other,
        pytest.raises(OSError, match=r"--port=\d+: Address already in use.*: give another$"),
    ):
        studio._listening("127.0.0.1", other.getsockname()[1])


def test_recipes_written_by_the_studio_hold_no_paths(client, desk):
    saved = send(client, "save", ASKED).json()
    text = client.get(f"/api/saved/{saved['folder']}/recipe.json").text
    assert str(desk.folder.parent) not in text
    assert recipe_file.from_json(json.loads(text), desk.model).givers[2] == {"subject": 0.5}


@pytest.mark.slow
def test_the_command_serves_a_release_until_ctrl_c(tmp_path):
    """From the shell: the address, the examples, one line at the end, nothing left behind."""
    config = small.config()
    networks = models.build(config)
    trained = Release(config, state.create(config, networks).eval_variables(), 3, NAMES)
    examples = [example(0), example(1)]
    with mock.patch.object(programs, "export_programs", return_value={}):
        release.write(tmp_path / "release", networks, trained, {}, "", "float32", examples)
    before = files_below(tmp_path)
    options = ("--mode=studio", f"--workdir={tmp_path / 'release'}", "--port=0")
    with ended([start(command(*options), kind=Process)]) as (process,):
        wait_until(lambda: "\n" in process.written()[0], [process])
        url = re.search(r"http://127.0.0.1:\d+/", process.written()[0])[0]

        def about():
            with urllib.request.urlopen(f"{url}api/about", timeout=60) as answer:
                return json.load(answer)

        wait_until(lambda: about()["ready"], [process])
        told = about()
        process.send_signal(signal.SIGINT)
        ((_, errors),) = wait_for([process], code=130)
    assert told["groups"] == {"examples": 4}
    assert told["step"] == 3
    assert "Traceback" not in errors
    assert errors.strip().endswith("interrupted")
    assert files_below(tmp_path) == before


def test_only_other_addresses_ask_for_a_token(model, tmp_path, monkeypatch, capsys):
    given = {}
    monkeypatch.setattr(TrainedModel, "load", lambda *_: model)
    monkeypatch.setattr(studio, "_pictures", lambda *_: {})
    monkeypatch.setattr(server, "create", lambda desk, hosts, token: given.update(token=token))
    monkeypatch.setattr(server, "Server", mock.Mock())
    for host in ("127.0.0.1", "0.0.0.0"):
        studio.studio(model.config, tmp_path, None, host, 0)
        (address,) = re.findall(r"http://\S+", capsys.readouterr().out)
        is_open = host == "0.0.0.0"
        assert (given["token"] is not None) == is_open
        assert ("?token=" in address) == is_open
