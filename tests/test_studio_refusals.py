"""The studio over HTTP, without a browser: what it refuses."""

import re
import struct
import zlib

import numpy as np
import pytest
from helpers.studio import (  # noqa: F401 fixtures
    ASKED,
    HOST,
    client,
    desk,
    files_below,
    model,
    plain,
    png,
    send,
    upload,
)
from starlette.testclient import TestClient

from scam_jax.studio import server


def bomb(side):
    """A PNG of 60 bytes that claims to have side² pixels."""

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b""))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


PHOTO, LABELS = png(plain(0)["image"]), png(plain(0)["label"])


@pytest.mark.parametrize(
    ("photo", "labels", "message"),
    [
        (PHOTO, b"", "this model has no parser to draw a label map: drop the photo together"),
        (PHOTO[:60], LABELS, r"cannot read a.png \(.*\): replace or remove it"),
        (b"", LABELS, r"cannot read a.png \(it is empty\)"),
        (b"<html>", LABELS, r"cannot read a.png \(it is not a picture\)"),
        (bomb(10_000), LABELS, "more than 67 million pixels"),
        (PHOTO, LABELS[:50], "cannot read label map"),
        (PHOTO, png(np.full((16, 16), 7, np.uint8)), "label map label map .*7"),
        (PHOTO, PHOTO, "label map"),
    ],
)
def test_bad_uploads_are_refused_in_one_line(client, desk, photo, labels, message):
    answer = upload(client, photo, labels)
    assert answer.status_code == 400
    said = answer.json()["error"]
    assert "\n" not in said
    assert str(desk.folder) not in said
    assert re.search(message, said), said
    assert files_below(desk.folder) == []


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "C:\\windows\\x.png", "/etc/passwd", "..", "", "a\x00b\n.png", "x" * 500],
)
def test_names_of_uploads_lead_nowhere(client, desk, tmp_path, name):
    before = files_below(tmp_path)
    answer = upload(client, PHOTO, LABELS, name=name)
    assert answer.status_code == 200, answer.text
    assert files_below(tmp_path) == before


def test_too_large_an_upload_is_refused(client, monkeypatch):
    answer = upload(client, bytes(server.MOST_BYTES))
    assert answer.status_code == 413
    assert "larger than 64 MB" in client.get("/page/api.js").text


@pytest.mark.parametrize(
    ("changes", "labels", "message"),
    [
        ({"pictures": {"target": "test/9"}}, b"", "there is no picture 'test/9'"),
        ({"pictures": {"target": "../config"}}, b"", "there is no picture"),
        ({"pictures": {"target": "own/abc"}}, b"", "there is no picture"),
        ({"pictures": {}}, b"", "pictures.target is missing"),
        ({"pictures": ["test/0"]}, b"", "pictures: names by role are needed"),
        ({"givers": {"9": {"subject": 1}}}, b"", "there is no label 9"),
        ({"givers": {"1": {"third": 1}}}, b"", "'third' is no giver"),
        ({}, b"12", "a label map of 16×16 bytes is needed, not 2"),
        ({}, bytes([9]) * 256, "labels has the label 9: need 0 … 2"),
    ],
)
def test_what_cannot_be_generated_is_said(client, changes, labels, message):
    answer = send(client, "generate", {**ASKED, **changes}, labels)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


@pytest.mark.parametrize("content", [b"", b"nothing", b"[]\n", b"{\n", b"\xff\xfe\n"])
def test_requests_of_others_are_malformed(client, content):
    for path in ("generate", "save", "loop", "attention", "upload", "truth", "load"):
        answer = client.post(f"/api/{path}", content=content)
        assert answer.status_code == 400, path
        assert "\n" not in answer.json()["error"]


def test_saved_files_are_the_only_ones(client, desk):
    """Dots are escaped here, because the client would resolve them itself."""
    send(client, "save", ASKED)
    (desk.folder.parent / "recipe.json").write_text("secret")
    assert client.get("/api/saved/%2e%2e/recipe.json").status_code == 400
    assert client.get("/page/%2e%2e/desk.py").status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "evil.example:8000"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": f"https://{HOST}"},
        {"sec-fetch-site": "cross-site"},
    ],
)
def test_other_pages_are_refused(client, headers):
    assert client.get("/api/about", headers=headers).status_code == 403
    assert send(client, "generate", ASKED, headers=headers).status_code == 403


def test_a_page_of_its_own_origin_is_served(client):
    headers = {"origin": f"http://{HOST}", "sec-fetch-site": "same-origin"}
    assert send(client, "generate", ASKED, headers=headers).status_code == 200


def test_elsewhere_a_token_is_needed(desk):
    app = server.create(desk, [HOST], token="secret")

    def client():
        return TestClient(app, base_url="http://studio.example:8000", follow_redirects=False)

    for path in ("/", "/api/about", "/?token=wrong", "/?token="):
        assert client().get(path).status_code == 403
    known = client()
    answer = known.get("/?token=secret")
    assert answer.headers["location"] == "/", "the token leaves the address bar"
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert "SameSite=lax" in answer.headers["set-cookie"], "also after a link in a page of mail"
    assert known.get("/").status_code == 200
    assert known.get("/", headers={"origin": "http://evil.example"}).status_code == 403
    for scheme in ("http", "https"):  # a server before the studio may add TLS
        own = {"origin": f"{scheme}://studio.example:8000"}
        assert known.get("/api/about", headers=own).status_code == 200
    other = 'a={"x":1}; scam_jax_studio_0=wrong'  # of another service, and of another studio
    cookie = answer.headers["set-cookie"].split(";")[0]
    assert client().get("/", headers={"cookie": f"{other}; {cookie}"}).status_code == 200
    assert client().get("/", headers={"cookie": other}).status_code == 403


def test_a_folder_that_cannot_be_written_is_named(client, desk):
    """Uploads do not need it."""
    desk.folder.write_bytes(b"a file in its place")
    assert upload(client, PHOTO, LABELS).status_code == 200
    answer = send(client, "save", ASKED)
    assert answer.status_code == 500
    assert str(desk.folder) in answer.json()["error"]
