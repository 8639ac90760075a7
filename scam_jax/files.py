"""Reads and writes the small files of runs, so that each is whole or not there.

A file is written beside its place, under a name of its own process, and then renamed. A reader
never sees a part of it, however many processes write. In a bucket it is sent as a whole.
"""

import contextlib
import io
import json
import os
import pathlib
import shutil
import socket
from collections.abc import Iterator
from typing import Any, BinaryIO

from etils import epath

from scam_jax import buckets


@contextlib.contextmanager
def replaced(file: epath.Path) -> Iterator[BinaryIO]:
    """Opens a stream whose content becomes the file when the block ends without an error.

    The file's folder is created if needed.

    Args:
      file: the file; an older one is replaced.

    Raises:
      OSError: the disk is full, or the folder is not writable. The older file is kept.
    """
    if buckets.is_in_bucket(file):
        content = io.BytesIO()
        yield content
        buckets.path(file).write_bytes(content.getvalue())
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f".{file.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(file)
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        # A full disk does not say which file it had no room for.
        raise OSError(error.errno, f"{error.strerror}: make room", str(file)) from error
    finally:
        beside.unlink(missing_ok=True)


def write(file: epath.Path, content: str | bytes) -> None:
    """Writes text as UTF-8, or bytes, to a file; see `replaced`."""
    with replaced(file) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


def write_json(file: epath.Path, values: Any) -> None:
    """Writes values as an indented JSON file; see `write`."""
    write(file, json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def read_json(file: epath.Path, remedy: str = "mend the file") -> dict[str, Any]:
    """Reads a JSON file that holds an object.

    Args:
      file: the file.
      remedy: what to do about a damaged file, for the error.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file is damaged; the message names its line.
    """
    return _parse(_text(file), file, 1, remedy)


def read_json_lines(
    file: epath.Path, remedy: str = "remove this line"
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the place and the object of each line of a JSON Lines file, which need not exist.

    Empty lines are passed over. A last line without an end is left out if it is damaged: a killed
    process may have been writing it.

    Raises:
      ValueError: a line is damaged; the message names it.
    """
    text = _text(file) if file.is_file() else ""
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if not line.strip():
            continue
        try:
            parsed = _parse(line.rstrip(), file, number, remedy)
        except ValueError:
            if line.endswith("\n"):
                raise
            return
        yield f"{file}, line {number}", parsed


def _text(file: epath.Path) -> str:
    return file.read_bytes().decode("utf-8", errors="replace")


def remove_leftovers(folder: epath.Path) -> None:
    """Removes what killed processes of this host left of files that they were writing.

    Args:
      folder: the folder; those within it are searched too.
    """
    if buckets.is_in_bucket(folder):
        return
    for file in pathlib.Path(folder).rglob(f".*.{socket.gethostname()}.*.tmp"):
        process = file.name.split(".")[-2]
        if process.isdigit() and not _is_alive(int(process)):
            file.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # It is another user's.
        return True
    return True


def _parse(text: str, file: epath.Path, first_line: int, remedy: str) -> dict[str, Any]:
    if not text.strip():
        raise ValueError(f"{file} is empty; {remedy}")
    try:
        parsed = json.loads(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise ValueError(f"{file}, line {line}: not JSON ({error.msg}); {remedy}") from error
    if not isinstance(parsed, dict):
        raise ValueError(f"{file}, line {first_line}: {{…}} is needed, not {text.strip()[:40]}")
    return parsed


def check_writable(name: str, folder: epath.Path) -> None:
    """Checks that files can be written to a folder, before the work whose results they hold.

    Args:
      name: the flag or key that names the folder, for the error.
      folder: the folder; it is created.

    Raises:
      ValueError: nothing can be written to it.
    """
    try:
        write(folder / ".writable", "")
        (folder / ".writable").unlink(missing_ok=True)
    except OSError as error:
        raise ValueError(
            f"{name} = {folder}: nothing can be written there ({error.strerror or error}); "
            "choose another folder, or make room or get the rights"
        ) from error


def check_room(name: str, folder: epath.Path, needed: int) -> None:
    """Checks that a file system has room.

    Args:
      name: what needs the room, for the error.
      folder: a folder of the file system; it need not exist yet.
      needed: bytes to be written.

    Raises:
      ValueError: there is less.
    """
    if buckets.is_in_bucket(folder):  # A bucket is never full.
        return
    folder = buckets.absolute(folder)
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise ValueError(
            f"{name} need {_megabytes(needed)} in {folder}, and {_megabytes(free)} are free: make "
            "room, or choose another --workdir"
        )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 1e7 else f"{size / 1e6:,.1f} MB"
