"""Decodes picture files. Whatever a file holds, the result is a picture or a ValueError.

The error is one line that names the file and a remedy. A picture that would need too much memory is
refused before it is decoded.
"""

import contextlib
import functools
import io
import os
import pathlib
import re
from collections.abc import Iterator

from PIL import Image, UnidentifiedImageError

# Pixels of the largest picture that is read. Decoded, it needs about 300 MB.
MAX_PIXELS = 2**26
# Pillow knows further formats, some of which start other programs.
_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "BMP", "GIF", "TIFF", "JPEG2000")
_REMEDY = "replace or remove it"
_LONGEST_REASON = 200
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def printable(name: str | os.PathLike) -> str:
    """Returns the name of a file as text of one line that every encoding of text can hold.

    A byte that is no UTF-8 becomes '\\xe9', as do control characters.

    Args:
      name: name or path of a file.
    """
    raw = os.fspath(name).encode("utf-8", "surrogateescape")
    text = raw.decode("utf-8", "backslashreplace")
    return _UNPRINTABLE.sub(lambda match: repr(match[0])[1:-1], text)


def decode(
    source: pathlib.Path | io.BytesIO, file: os.PathLike, remedy: str = _REMEDY
) -> Image.Image:
    """Decodes a whole picture.

    Args:
      source: the file, or its content.
      file: path of the file, for errors.
      remedy: advice about a damaged file, for errors.

    Returns:
      The picture in its own mode. Its `format` tells what the content is.

    Raises:
      ValueError: the file is damaged, missing or too large; names it.
    """
    with opened(source, file, remedy) as picture:
        picture.load()
        return picture


@contextlib.contextmanager
def opened(
    source: pathlib.Path | io.BytesIO, file: os.PathLike, remedy: str = _REMEDY
) -> Iterator[Image.Image]:
    """Opens a picture and reads its header. Errors within the block become those of `decode`.

    The arguments are those of `decode`. Use the block for operations of Pillow only.
    """
    try:
        if isinstance(source, pathlib.Path):
            _require_regular(source)
        # From a path, Pillow would map a turned TIFF into memory with rows and columns exchanged.
        stream = source.open("rb") if isinstance(source, pathlib.Path) else source
        with stream, Image.open(stream, formats=_supported()) as picture:
            _require_small(picture)
            yield picture
    # Pillow raises exceptions of almost every type for damaged files.
    except Exception as error:
        raise _unreadable(file, error, remedy) from error


@functools.cache
def _supported() -> list[str]:
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def _require_regular(file: pathlib.Path) -> None:
    # Reading a pipe or a device might never end.
    if file.exists() and not file.is_file():
        raise OSError("it is a folder" if file.is_dir() else "it is neither a file nor a folder")


def _require_small(picture: Image.Image) -> None:
    if picture.width * picture.height > MAX_PIXELS:
        raise Image.DecompressionBombError(f"{picture.width}×{picture.height} pixels")


def _unreadable(file: os.PathLike, error: Exception, remedy: str) -> ValueError:
    path, name = pathlib.Path(file), printable(file)
    if path.is_symlink() and not path.exists():
        target = printable(path.readlink())
        return ValueError(f"{name} links to {target}, which is not there: fix the link")
    if isinstance(error, FileNotFoundError):
        return ValueError(f"there is no file {name}: correct the path")
    if isinstance(error, PermissionError):
        return ValueError(f"cannot read {name} (no permission): get the right to read it")
    if isinstance(error, Image.DecompressionBombError):
        millions = MAX_PIXELS // 10**6
        reason, remedy = f"more than {millions} million pixels", "make it smaller, or remove it"
    elif path.is_file() and path.stat().st_size == 0:
        reason = "it is empty"
    elif isinstance(error, UnidentifiedImageError):
        reason = "it is not a picture"  # Pillow's own message would repeat the file.
    else:
        reason = _one_line(error)
    return ValueError(f"cannot read {name} ({reason}): {remedy}")


def _one_line(error: Exception) -> str:
    """Returns what an exception says, or its type if it says nothing."""
    said = (error.strerror if isinstance(error, OSError) else None) or str(error)
    reason = printable(" ".join(said.split()))
    return reason[:_LONGEST_REASON] or type(error).__name__
