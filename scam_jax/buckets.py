"""Places in a file system or in a bucket of Google Cloud Storage, with one type for both.

  path("runs/celeba")         a folder
  path("gs://bucket/celeba")  the objects of a bucket whose names begin with `celeba/`

A bucket has no folders, no appending and no renaming at once. An object is there when it is whole.
"""

import contextlib
import glob
import os
import pathlib
from typing import Any

from etils import epath

_PREFIX = "gs://"
Place = str | os.PathLike[str]


def is_in_bucket(place: Place) -> bool:
    """Returns whether a place is in a bucket."""
    return os.fspath(place).startswith(_PREFIX)


def path(place: Place) -> epath.Path:
    """Converts a place to a path, with `~` expanded.

    Raises:
      ValueError: it is in a bucket, and the package that reads buckets is not installed.
    """
    if is_in_bucket(place):
        _connect(place)
        return epath.Path(place)
    return epath.Path(os.path.expanduser(place))


def absolute(place: Place) -> epath.Path:
    """Returns the absolute path of a place, with links as they are."""
    return path(place if is_in_bucket(place) else os.path.abspath(place))


def resolved(place: Place) -> epath.Path:
    """Returns the absolute path of a place, with links followed."""
    return path(place if is_in_bucket(place) else os.path.realpath(place))


def check(name: str, place: Place) -> None:
    """Checks that the bucket of a place exists and may be read; does nothing elsewhere.

    Args:
      name: the flag or key that names the place, for the error.
      place: the place.

    Raises:
      ValueError: it is not so; says what to do.
    """
    if not is_in_bucket(place):
        return
    bucket = os.fspath(place).removeprefix(_PREFIX).partition("/")[0]
    if not bucket:
        raise ValueError(f"{name}={place}: give gs://BUCKET/FOLDER")
    try:
        _connect(place).call("GET", "b/{}/o", bucket, maxResults=1)
    except FileNotFoundError as error:
        raise ValueError(
            f"{name}={place}: there is no bucket {bucket}: correct the name, or create it: "
            f"gcloud storage buckets create gs://{bucket}"
        ) from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{name}={place}: {error}") from error


def files_below(folder: epath.Path, name: str) -> list[epath.Path]:
    """Returns all files of a name in a folder or below, except in hidden folders, sorted."""
    if is_in_bucket(folder):
        found = [f"{_PREFIX}{file}" for file in _connect(folder).find(os.fspath(folder))]
        files = [path(file) for file in found if file.rpartition("/")[2] == name]
    else:
        files = [folder / file for file in glob.glob(f"**/{name}", root_dir=folder, recursive=True)]
    return sorted(file for file in files if not _is_hidden(file.relative_to(folder).parts))


def send(folder: pathlib.Path, place: epath.Path) -> None:
    """Copies the files of a folder and below to a place in a bucket."""
    for file in folder.rglob("*"):
        if file.is_file():
            (place / file.relative_to(folder)).write_bytes(file.read_bytes())


def create(file: epath.Path, content: bytes) -> str:
    """Creates an object of a bucket.

    Returns:
      Its generation, which changes whenever it is written.

    Raises:
      FileExistsError: there is one.
    """
    return _connect(file).pipe_file(os.fspath(file), content, mode="create")["generation"]


def generation(file: epath.Path) -> str | None:
    """Returns the generation of an object of a bucket, None if there is none."""
    try:
        return _connect(file).info(os.fspath(file))["generation"]
    except FileNotFoundError:
        return None


def rewrite(file: epath.Path, content: bytes, generation: str) -> str:
    """Writes an object of a bucket anew if it is of a generation; returns the new one.

    Raises:
      FileExistsError, FileNotFoundError: it is of another generation, or gone.
    """
    system = _connect(file)
    bucket, name, _ = system.split_path(os.fspath(file))
    address = f"{system.base.replace('/storage/v1/', '/upload/storage/v1/')}b/{{}}/o"
    sent = system.call(
        *("POST", address, bucket),
        uploadType="media",
        name=name,
        ifGenerationMatch=generation,
        data=content,
        json_out=True,
    )
    return sent["generation"]


def remove(file: epath.Path, generation: str) -> None:
    """Removes an object of a bucket if it is of a generation, and does nothing otherwise."""
    system = _connect(file)
    bucket, name, _ = system.split_path(os.fspath(file))
    with contextlib.suppress(FileExistsError, FileNotFoundError):
        system.call("DELETE", "b/{}/o/{}", bucket, name, ifGenerationMatch=generation)


def _is_hidden(parts: tuple[str, ...]) -> bool:
    return any(part.startswith(".") for part in parts[:-1])


def _connect(place: Place) -> Any:
    """Returns the file system of all buckets; imports it when it is first asked for."""
    try:
        from scam_jax import bucket_file_system
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{place}: buckets need the package {error.name}: pip install gcsfs"
        ) from error
    return bucket_file_system.connected()
