"""Opens a trained model in the browser: `main.py --mode=studio --workdir=RUN`."""

import pathlib
import secrets
import socket

from absl import logging
from etils import epath
from ml_collections import ConfigDict

from scam_jax import buckets
from scam_jax.commands.feed import OpenFeed
from scam_jax.examples import Source
from scam_jax.inference import release, release_examples
from scam_jax.inference.model import Checkpoint, TrainedModel

FOLDER = "studio"
_HTTP = 80
# Addresses that stand for all of a machine's own.
_ANY = ("0.0.0.0", "::", "")
_ON_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")


def studio(
    config: ConfigDict,
    workdir: epath.Path,
    open_feed: OpenFeed,
    host: str,
    port: int,
    checkpoint: Checkpoint = "newest",
) -> None:
    """Serves the studio of a run or release until it is interrupted.

    Args:
      config: the whole config.
      workdir: the run or release. What the user saves lies in its folder `studio`; if it is in
        a bucket, in a folder of its name in `runs`.
      open_feed: opens the run's data.
      host: the address to listen on. On any but this machine's own, browsers need a token.
      port: the port.
      checkpoint: see `TrainedModel.load`.

    Raises:
      FileNotFoundError: there is no trained model, or files of the data set are missing.
      ValueError: packages of the studio are missing, or the data set is invalid.
      OSError: the port is in use.
    """
    try:
        from scam_jax.studio import desk, library, server
    except ModuleNotFoundError as error:
        raise ValueError(
            f"the studio needs the package {error.name}: pip install starlette uvicorn"
        ) from error
    with _listening(host, port) as listener:
        model = TrainedModel.load(workdir, checkpoint)
        pictures = library.Library(_pictures(config, workdir, open_feed))
        port = listener.getsockname()[1]
        names = ("127.0.0.1", "localhost", "[::1]")
        # Browsers leave out HTTP's own port.
        hosts = [f"{name}:{port}" for name in names] + [*names] * (port == _HTTP)
        token = None if host in _ON_THIS_MACHINE else secrets.token_urlsafe(16)
        app = server.create(desk.Desk(model, pictures, _saved(workdir)), hosts, token)
        shown = socket.gethostname() if host in _ANY else f"[{host}]" if ":" in host else host
        print(
            f"the studio is at http://{shown}:{port}/{f'?token={token}' if token else ''}\n"
            "Ctrl-C ends it",
            flush=True,
        )
        if token:
            logging.warning("whoever knows this address can use this model and see its pictures")
        server.Server(app).serve_on(listener)


def _saved(workdir: epath.Path) -> pathlib.Path:
    """Returns the folder for what the user saves, which is always in the file system."""
    if not buckets.is_in_bucket(workdir):
        return pathlib.Path(workdir / FOLDER)
    folder = pathlib.Path("runs", workdir.name, FOLDER)
    logging.info("%s is in a bucket: what you save goes to %s", workdir, folder)
    return folder


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        said = error.strerror or error
        raise OSError(f"--host={host} --port={port}: {said}: give another") from error


def _pictures(config: ConfigDict, workdir: epath.Path, open_feed: OpenFeed) -> dict[str, Source]:
    """Returns the pictures to choose from: those of a release, or the run's splits."""
    if release.is_release(workdir):
        return {"examples": release_examples.load(workdir, config.data)}
    feed = open_feed(config, workdir)
    found: dict[str, Source] = {}
    for split in ("test", "validation"):
        try:
            found[split] = feed.transfers(split) or feed.split(split)
        except ValueError as error:
            logging.warning("%s", error)
    return found
