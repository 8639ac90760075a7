"""Buckets as gcsfs reads them, with patience while they are away, and with clear errors.

Orbax, TFDS and this project all read buckets by this class, except for arrays and records, which
libraries in C++ read. These try again by themselves.
"""

import asyncio
import functools
import logging as python_logging
import time
from typing import Any

import fsspec
from absl import logging
from gcsfs import retry
from gcsfs.core import GCSFileSystem
from google.auth import exceptions

# How long the service may be away before a command ends.
PATIENCE = 300.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 16.0
_SECONDS_BETWEEN_LINES = 30
_UNAUTHORIZED = "401"
# How often a request is sent again that no token was right for.
_TOKENS_TRIED = 2


class PatientFileSystem(GCSFileSystem):
    """Asks again until the service has been away for `PATIENCE` seconds."""

    protocol = ("gs", "gcs")
    _away_since: float | None = None

    async def _request(self, method: str, path: str, *args: Any, **kwargs: Any) -> Any:
        pause, unauthorized = _FIRST_PAUSE, 0
        while True:
            try:
                # The function below the retries of gcsfs, which give up after half a minute.
                answer = await super()._request.__wrapped__(self, method, path, *args, **kwargs)
            except Exception as error:
                if _code(error) == _UNAUTHORIZED and unauthorized < _TOKENS_TRIED:
                    unauthorized += 1  # The token may just have run out.
                elif not _is_away(error):
                    if (refusal := _refusal(error, self._format_path(path, args))) is not None:
                        raise refusal from error
                    raise
                else:
                    self._count_on(error)
            else:
                self._away_since = None
                return answer
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _count_on(self, error: Exception) -> None:
        """Counts for how long no request has been answered; raises when it is too long."""
        now = time.monotonic()
        if self._away_since is None:
            self._away_since = now
        waited = now - self._away_since
        if waited > PATIENCE:
            raise ConnectionError(
                f"Google Cloud Storage has not answered for {waited:.0f} seconds "
                f"({_said(error)}): what is saved is safe; the same command goes on"
            ) from error
        logging.log_every_n_seconds(
            logging.WARNING,
            "Google Cloud Storage does not answer (%s): trying again for %.0f seconds",
            _SECONDS_BETWEEN_LINES,
            *(_said(error), PATIENCE - waited),
        )

    async def _isdir(self, path: str) -> bool:
        # That of gcsfs says no as well if the server does not answer.
        try:
            return (await self._info(path))["type"] == "directory"
        except FileNotFoundError:
            return False


def _is_away(error: Exception) -> bool:
    # gcsfs makes a 401 of a token that could not be had.
    reason = error.__cause__ if _code(error) == _UNAUTHORIZED else error
    if isinstance(reason, exceptions.GoogleAuthError):
        return isinstance(reason, exceptions.TransportError) or reason.retryable
    if _code(error) == _UNAUTHORIZED:
        return False
    return isinstance(error, TimeoutError) or bool(retry.is_retriable(error))


def _code(error: Exception) -> str:
    return str(error.code) if isinstance(error, retry.HttpError) else ""


def _refusal(error: Exception, address: str) -> PermissionError | None:
    """Returns the error of a request without the rights for it, or None for other errors."""
    is_refused = _code(error) in (_UNAUTHORIZED, "403")
    is_refused |= isinstance(error, OSError) and str(error).startswith("Forbidden")
    is_refused |= isinstance(error, exceptions.GoogleAuthError | retry.NonRetryableError)
    if not is_refused:
        return None
    bucket = address.partition("/b/")[2].partition("/")[0]
    return PermissionError(
        f"no permission for gs://{bucket} ({_said(error)}): log in by `gcloud auth "
        "application-default login`, or give this machine's account the role "
        "roles/storage.objectUser of the bucket"
    )


def _said(error: Exception) -> str:
    text = error.message if isinstance(error, retry.HttpError) else str(error)
    text = text.decode(errors="replace") if isinstance(text, bytes) else text
    # Why a token could not be had is only told there.
    cause = f": {error.__cause__}" if error.__cause__ is not None else ""
    return " ".join(f"{text}{cause}".split()) or type(error).__name__


@functools.cache
def connected() -> PatientFileSystem:
    """Returns the file system of all buckets, and makes it that of epath's `gs://` too."""
    # It logs with a traceback what it then raises.
    python_logging.getLogger("gcsfs").setLevel(python_logging.CRITICAL)
    for name in PatientFileSystem.protocol:
        fsspec.register_implementation(name, PatientFileSystem, clobber=True)
        # Orbax writes to buckets past gcsfs, which would keep old lists of objects for ever.
        fsspec.config.conf[name] = {"use_listings_cache": False}
    return fsspec.filesystem("gcs", finalize_on_close=True)
