"""A studio over HTTP, with a small model and drawn pictures: fixtures and requests."""

import io
import json
import time

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from helpers import named_model
from scam_jax.examples import Picture
from scam_jax.inference.recipe import Recipe
from scam_jax.studio import server
from scam_jax.studio.desk import Desk
from scam_jax.studio.library import Library

HOST = "127.0.0.1:8000"


def example(seed):
    random = np.random.default_rng(seed)
    drawn = {"transfer_image": random.integers(0, 256, (16, 16, 3), dtype=np.uint8)}
    for who in ("subject", "target"):
        drawn[f"{who}_image"] = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        drawn[f"{who}_label"] = random.integers(0, 3, (16, 16), dtype=np.uint8)
    return drawn


def plain(seed):
    drawn = example(seed)
    return {"image": drawn["subject_image"], "label": drawn["subject_label"]}


@pytest.fixture(scope="module")
def model():
    return named_model.build()


@pytest.fixture
def desk(model, tmp_path):
    groups = {"test": [example(0), example(1)], "validation": [plain(2)], "empty": []}
    return Desk(model, Library(groups), tmp_path / "studio")


@pytest.fixture
def client(desk, monkeypatch):
    monkeypatch.setattr(desk, "warm_up", lambda tell: tell("nothing"))
    with TestClient(server.create(desk, [HOST]), base_url=f"http://{HOST}") as client:
        deadline = time.monotonic() + 60
        while not client.get("/api/about").json()["ready"]:
            assert time.monotonic() < deadline, "the studio does not become ready"
            time.sleep(0.01)
        yield client


ASKED = {
    "pictures": {"target": "test/1", "subject": "test/0"},
    "givers": {"1": {"subject": 1.0}, "2": {"subject": 0.5}},
    "absent": "target",
}


def send(client, path, header, content=b"", **options):
    body = json.dumps(header).encode() + b"\n" + content
    return client.post(f"/api/{path}", content=body, **options)


def message(answer):
    assert answer.status_code == 200, answer.text
    line, _, content = answer.content.partition(b"\n")
    return json.loads(line), content


def pixels(content):
    return np.asarray(Image.open(io.BytesIO(content)))


def chosen(labels=None):
    first = example(0)
    people = {
        who: Picture(first[f"{who}_image"], first[f"{who}_label"]) for who in ("subject", "target")
    }
    return Recipe(people, {1: {"subject": 1.0}, 2: {"subject": 0.5}}, labels)


def png(array):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def upload(client, photo, labels=b"", name="a.png"):
    return send(client, "upload", {"name": name, "photo": len(photo)}, photo + labels)


def files_below(folder):
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())
