"""A person's whole way through the studio, in Chromium. `make test-studio` installs it."""

import json
import pathlib
import re
import resource
import shutil
import socket
import threading
import time

import numpy as np
import pytest
import uvicorn
from helpers import named_model
from PIL import Image

from scam_jax.commands import studio, use
from scam_jax.inference.model import TrainedModel
from scam_jax.studio import server
from scam_jax.studio.desk import Desk
from scam_jax.studio.library import Library

pytestmark = pytest.mark.browser


def example(seed):
    random = np.random.default_rng(seed)
    labels = np.zeros((16, 16), np.uint8)
    labels[2:6, 4:12], labels[6:14, 3 + seed : 10] = 1, 2
    colors = random.integers(0, 256, (3, 3))
    image = colors[labels].astype(np.uint8)
    people = {"subject_image": image, "target_image": 255 - image}
    return {**people, "subject_label": labels, "target_label": labels, "transfer_image": image}


@pytest.fixture(scope="module")
def model():
    return named_model.build()


@pytest.fixture
def studio_url(model, tmp_path):
    """A studio on a port of its own."""
    listener = studio._listening("127.0.0.1", 0)
    port = listener.getsockname()[1]
    desk = Desk(model, Library({"test": [example(i) for i in range(3)]}), tmp_path / "studio")
    app = server.create(desk, [f"127.0.0.1:{port}"])
    running = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=running.run, args=([listener],))
    thread.start()
    yield f"http://127.0.0.1:{port}/"
    running.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    place = shutil.which("chromium")
    assert place, "there is no chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=place, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, studio_url):
    """The page, ready. At its end, nothing went wrong in it and nothing left this machine."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(60_000)
    wrong, asked = [], []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(studio_url)
    page.wait_for_selector("body[data-ready]")
    settled(page)
    yield page
    page.close()
    assert not wrong
    assert {url for url in asked if not url.startswith((studio_url, "blob:", "data:"))} == set()


def settled(page):
    """Waits until a picture is there, and none is on its way for a while."""
    last, since = None, time.monotonic()
    while time.monotonic() - since < 0.6:
        page.wait_for_timeout(100)
        now = page.evaluate("() => ({ ...document.body.dataset })")
        if now != last or "busy" in now or "generated" not in now:
            last, since = now, time.monotonic()


def shown(page):
    return page.evaluate(
        "() => { const c = document.getElementById('result');"
        " return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]; }"
    )


def pixels(page):
    return np.array(shown(page), np.uint8).reshape(16, 16, 4)[..., :3]


def saved(page, folder):
    page.click("#save")
    page.wait_for_selector("#saved li")
    (place,) = folder.iterdir()
    return place


def test_a_persons_whole_way(page, model, tmp_path, monkeypatch):
    page.click("#slots [data-role=subject]")
    page.click("#gallery button:nth-child(3)")
    page.click("#slots [data-role=third]")
    page.click("#gallery button:nth-child(5)")
    settled(page)
    chosen = pixels(page)
    page.select_option("tr:has-text('hair') select", "third")
    page.fill("tr:has-text('top') input[type=range]", "50")
    settled(page)
    recolored = pixels(page)
    assert np.any(recolored != chosen)

    page.keyboard.press("2")  # top
    page.keyboard.press("b")
    box = page.locator("#overlay").bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 60, steps=4)
    page.mouse.up()
    settled(page)
    painted = pixels(page)
    assert np.any(painted != recolored)
    page.keyboard.press("Control+z")
    settled(page)
    np.testing.assert_array_equal(pixels(page), recolored)
    page.keyboard.press("Control+y")
    page.fill("#blend", "80")
    settled(page)
    last = pixels(page)

    place = saved(page, tmp_path / "studio")
    np.testing.assert_array_equal(np.asarray(Image.open(place / "picture.png")), last)
    recipe = json.loads((place / "recipe.json").read_text())
    assert recipe["givers"]["hair"] == {"third": 0.8}
    assert recipe["givers"]["top"] == {"subject": 0.4}
    monkeypatch.setattr(TrainedModel, "load", lambda *_: model)
    use.from_recipe(tmp_path, place / "recipe.json", tmp_path / "out.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), last)

    page.reload()
    page.wait_for_selector("body[data-ready]")
    page.set_input_files("#recipe", place / "recipe.json")
    settled(page)
    np.testing.assert_array_equal(pixels(page), last)


def test_undo_ends_the_stroke_at_hand(page):
    """Else what follows would be painted over the state that undo brought back, and lose it."""
    before = pixels(page)
    page.keyboard.press("2")
    page.keyboard.press("b")
    box = page.locator("#overlay").bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 120, box["y"] + 60, steps=4)
    page.keyboard.press("Control+z")
    page.mouse.move(box["x"] + 200, box["y"] + 200, steps=4)
    page.mouse.up()
    settled(page)
    np.testing.assert_array_equal(pixels(page), before)
    assert page.is_disabled("#undo")
    assert page.is_enabled("#redo")


def test_the_true_result_a_loop_and_attention(page):
    assert re.search(r"PSNR \d+\.\d\d dB", page.inner_text("#truth figcaption"))
    page.keyboard.press("p")
    page.wait_for_selector("#loop:not([hidden])")
    with page.expect_download() as download:
        page.click("[data-form=gif]")
    assert Image.open(download.value.path()).n_frames > 2
    page.keyboard.press("a")
    page.wait_for_selector("#shares-said:has-text('Point'), #shares-said:has-text('%')")
    page.hover("#overlay", position={"x": 200, "y": 120})
    page.wait_for_selector("#shares-said:has-text('hair')")
    page.wait_for_selector("#looks-said:has-text('subject, hair')")


def test_painting_with_the_keyboard_alone(page):
    page.focus("#overlay")
    before = page.inner_text("#under")
    page.keyboard.press("1")
    page.keyboard.press("f")
    page.focus("#overlay")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    settled(page)
    assert page.is_enabled("#undo"), before
    page.keyboard.press("m")
    page.focus("#overlay")
    changed = pixels(page)
    page.keyboard.press("ArrowRight")
    settled(page)
    assert np.any(pixels(page) != changed)
    moved = label_map(page)
    page.keyboard.press("h")
    settled(page)
    label = (
        int(
            page.evaluate(
                "() => document.querySelector('[name=paint]:checked').closest('tr').rowIndex"
            )
        )
        // 2
    )
    columns = np.flatnonzero((moved == label).any(0))
    mirrored = label_map(page) == label
    span = np.s_[:, columns[0] : columns[-1] + 1]
    np.testing.assert_array_equal(mirrored[span], (moved == label)[span][:, ::-1])


def label_map(page):
    """The label map that the page shows, by the colours of the overlay."""
    page.fill("#alpha", "100")
    drawn = page.evaluate(
        "() => { const c = document.getElementById('overlay');"
        " return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]; }"
    )
    colors = page.evaluate(
        "() => [...document.querySelectorAll('.swatch')].map("
        "(s) => s.style.background.match(/\\d+/g).map(Number))"
    )
    pixels = np.array(drawn).reshape(16, 16, 4)[..., :3]
    return np.array([[colors.index(pixel.tolist()) for pixel in row] for row in pixels])


def test_what_was_painted_comes_back(page):
    """Another target, a click that changes nothing and leaving the page lose nothing."""
    box = page.locator("#overlay").bounding_box()
    unpainted = label_map(page)
    page.keyboard.press("1")
    page.keyboard.press("b")
    page.mouse.click(box["x"] + 20, box["y"] + 20)
    painted = label_map(page)
    assert np.any(painted != unpainted)
    page.keyboard.press("Control+z")
    page.keyboard.press("m")
    page.mouse.click(box["x"] + 200, box["y"] + 200)
    assert page.is_enabled("#redo"), "selecting a region is no change"
    page.keyboard.press("Control+y")
    np.testing.assert_array_equal(label_map(page), painted)
    page.click("#slots [data-role=target]")
    chosen = page.get_attribute("#slots [data-role=target] img", "src")
    page.click(f"#gallery button[data-name='{chosen[len('/api/pictures/') : -len('.png')]}']")
    settled(page)
    np.testing.assert_array_equal(label_map(page), painted)
    page.click("#gallery button:nth-child(5)")
    settled(page)
    assert page.get_attribute("#slots [data-role=target] img", "src") != chosen
    page.keyboard.press("Control+z")
    settled(page)
    assert page.get_attribute("#slots [data-role=target] img", "src") == chosen
    np.testing.assert_array_equal(label_map(page), painted)
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.reload()
    assert asked == ["beforeunload"]


def test_the_brush_paints_in_sight_after_attention(page):
    page.keyboard.press("a")
    page.hover("#overlay", position={"x": 200, "y": 120})
    page.wait_for_selector("#looks-said:has-text('subject, hair')")
    page.keyboard.press("b")
    page.keyboard.press("1")
    box = page.locator("#overlay").bounding_box()
    page.mouse.click(box["x"] + 20, box["y"] + 20)
    assert label_map(page)[0, 0] == 1


def test_a_loop_of_what_was_chosen_before_is_not_shown(page):
    page.keyboard.press("p")
    page.click("#slots [data-role=subject]")
    page.click("#gallery button:nth-child(5)")
    page.wait_for_selector("#play:enabled")
    settled(page)
    assert page.is_hidden("#loop")


@pytest.mark.parametrize("width", [740, 768, 880, 1130, 1300])
def test_the_picture_fits_its_column(browser, studio_url, width):
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(studio_url)
    page.wait_for_selector("body[data-ready]")
    column, picture = (page.locator(name).bounding_box() for name in ("#stage", "#overlay"))
    assert column["x"] <= picture["x"]
    assert picture["x"] + picture["width"] <= column["x"] + column["width"]
    assert picture["width"] == pytest.approx(picture["height"], abs=1)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    page.close()


def test_photos_of_ones_own(page, tmp_path):
    drawn = example(1)
    Image.fromarray(drawn["subject_image"]).save(tmp_path / "me.png")
    Image.fromarray(drawn["subject_label"]).save(tmp_path / "me_labels.png")
    page.click("#slots [data-role=target]")
    page.set_input_files("#files", [tmp_path / "me.png", tmp_path / "me_labels.png"])
    page.wait_for_selector("#gallery button[data-name^=own]")
    settled(page)
    assert page.get_attribute("#slots [data-role=target] img", "src").startswith(
        "/api/pictures/own"
    )


def test_errors_are_said_in_words(page, tmp_path):
    Image.fromarray(example(1)["subject_image"]).save(tmp_path / "me.png")
    page.set_input_files("#files", tmp_path / "me.png")
    page.wait_for_selector("#error:has-text('no parser')")
    page.click("#error button")
    (tmp_path / "note.png").write_text("no picture")
    Image.fromarray(example(1)["subject_label"]).save(tmp_path / "note_labels.png")
    page.set_input_files("#files", [tmp_path / "note.png", tmp_path / "note_labels.png"])
    page.wait_for_selector("#error:has-text('cannot read note.png (it is not a picture)')")
    (tmp_path / "recipe.json").write_text('{"pictures": {}}')
    page.set_input_files("#recipe", tmp_path / "recipe.json")
    page.wait_for_selector("#error:has-text('pictures.target is missing')")
    page.select_option("#absent", "rule")
    page.fill("#rule", "hat<hair")
    page.press("#rule", "Tab")
    page.wait_for_selector("#error:has-text(\"there is no label 'hat'\")")
    page.select_option("#absent", "guess")
    page.wait_for_selector("#error", state="hidden")


def test_a_phones_width(browser, studio_url):
    page = browser.new_page(viewport={"width": 360, "height": 740}, color_scheme="dark")
    page.goto(studio_url)
    page.wait_for_selector("body[data-ready]")
    settled(page)
    wide = page.evaluate("() => document.documentElement.scrollWidth")
    widest = page.evaluate(
        "() => [...document.querySelectorAll('main *')]"
        ".filter((e) => e.getBoundingClientRect().right > 361).map((e) => e.outerHTML.slice(0, 80))"
    )
    assert wide <= 360, f"wider than the screen: {widest}"
    order = page.evaluate(
        "() => ['stage', 'people', 'regions', 'keep']"
        ".map((id) => document.getElementById(id).getBoundingClientRect().top)"
    )
    assert order == sorted(order)
    page.close()


def test_a_browser_that_goes_away_costs_nothing(studio_url):
    host, port = studio_url.removeprefix("http://").rstrip("/").split(":")
    for _ in range(20):
        with socket.create_connection((host, int(port))) as connection:
            head = (
                f"POST /api/generate HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 900\r\n\r\n"
            )
            connection.sendall(head.encode() + b'{"pictures"')
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"GET /api/about HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


def test_two_hundred_pictures_in_a_row_need_no_more_memory(page):
    """Memory after 100 and after 200 requests, and threads."""
    import urllib.request

    url = page.url
    body = json.dumps(
        {"pictures": {"target": "test/1", "subject": "test/0"}, "givers": {"1": {"subject": 1.0}}}
    ).encode()

    def ask(count):
        for _ in range(count):
            request = urllib.request.Request(f"{url}api/generate", body + b"\n")
            with urllib.request.urlopen(request) as answer:
                assert answer.status == 200
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() // 1024, threading.active_count()

    ask(50)
    before, after = ask(50), ask(150)
    assert after[0] - before[0] < 10_000, "kB"
    assert after[1] <= before[1] + 1


def test_an_upload_that_takes_too_long_is_ended(studio_url, monkeypatch):
    monkeypatch.setattr(server, "MOST_SECONDS", 0.5)
    host, port = studio_url.removeprefix("http://").rstrip("/").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        head = f"POST /api/load HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 900\r\n"
        connection.sendall(head.encode() + b"Connection: close\r\n\r\n{")
        answer = b"".join(iter(lambda: connection.recv(1000), b""))
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"took more than 0 s" in answer


def test_a_photo_is_pasted(page, tmp_path):
    Image.fromarray(example(1)["subject_image"]).save(tmp_path / "me.png")
    content = [*(tmp_path / "me.png").read_bytes()]
    page.evaluate(
        "(bytes) => { const data = new DataTransfer();"
        " data.items.add(new File([Uint8Array.from(bytes)], 'me.png', { type: 'image/png' }));"
        " document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data })); }",
        content,
    )
    page.wait_for_selector("#error:has-text('no parser')")
