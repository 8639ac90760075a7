"""The lock of a run in a bucket: an object that its holder writes anew every few seconds.

A killed process leaves the object behind. Who finds it waits: if it stays as it is, the holder is
gone, and the lock is taken over. No clocks are compared.
"""

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator

from absl import logging
from etils import epath

from scam_jax import buckets

# Seconds between two signs of life, and those without one after which a holder counts as gone.
BEAT, SILENCE = 10.0, 60.0


@contextlib.contextmanager
def locked(file: epath.Path, content: bytes) -> Iterator[None]:
    """Holds a lock.

    Args:
      file: the object.
      content: who holds it.

    Raises:
      ValueError: another process holds it; the message names it.
    """
    beating = _Beating(file, content, _acquired(file, content))
    beating.thread.start()
    try:
        yield
    finally:
        beating.end()


def held(file: epath.Path) -> ValueError:
    """Returns the error of a run whose lock another process holds."""
    return ValueError(
        f"{file.parent} is being trained by another process ({_holder(file)}): wait for it, stop "
        "it, or give another --workdir"
    )


def _holder(file: epath.Path) -> str:
    try:
        said = json.loads(file.read_bytes())
        return f"process {said['process']} on {said['host']}, since {said['since']}"
    except (OSError, ValueError, KeyError):
        return "which has just started"


def _acquired(file: epath.Path, content: bytes) -> str:
    """Creates the object; returns its generation."""
    while True:
        try:
            return buckets.create(file, content)
        except FileExistsError:
            found = buckets.generation(file)
        if found is None:
            continue
        if not _is_silent(file, found):
            raise held(file)
        logging.info("it is gone: this process trains the run")
        buckets.remove(file, found)


def _is_silent(file: epath.Path, found: str) -> bool:
    """Returns whether the object stays of a generation, or goes."""
    logging.info(
        "%s is there, of %s: waiting up to %.0f seconds for a sign of life",
        *(file, _holder(file), SILENCE),
    )
    silent = 0.0
    while silent < SILENCE:
        time.sleep(BEAT / 5)
        asked = time.monotonic()
        now = buckets.generation(file)
        if now != found:
            return now is None
        # While the bucket is away, its holder cannot give a sign either.
        was_away = time.monotonic() - asked > BEAT
        silent = 0.0 if was_away else silent + BEAT / 5
    return True


class _Beating:
    """Writes the object anew until it is told to end, and then removes it."""

    def __init__(self, file: epath.Path, content: bytes, generation: str):
        self._file, self._content, self._generation = file, content, generation
        self._ended = threading.Event()
        self.thread = threading.Thread(target=self._beat, name="lock of the run", daemon=True)

    def end(self) -> None:
        self._ended.set()
        self.thread.join()
        buckets.remove(self._file, self._generation)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            try:
                self._renew()
            except ConnectionError as error:
                # Threads that save would go on asking for a quarter of an hour.
                _end_at_once(str(error))
            except OSError as error:  # Training ends by itself if it cannot write either.
                logging.warning("%s cannot be written: %s", self._file, error)

    def _renew(self) -> None:
        generation = self._own_generation()
        try:
            self._generation = buckets.rewrite(self._file, self._content, generation)
        except (FileExistsError, FileNotFoundError):
            self._generation = self._own_generation()

    def _own_generation(self) -> str:
        """Returns the object's generation; gives way unless this process wrote it."""
        found = buckets.generation(self._file)
        # A reply may be lost; the same request is then refused when it is repeated.
        if found == self._generation or (found and self._file.read_bytes() == self._content):
            return found
        self._give_way()
        return self._generation

    def _give_way(self) -> None:
        # Saving would damage what the other process writes.
        _end_at_once(
            f"{self._file} is not of this process any more: another one trains the run, and this "
            "one ends"
        )


def _end_at_once(reason: str) -> None:
    logging.error("%s", reason)
    sys.stderr.flush()
    os._exit(1)
