"""Names of the label numbers in a folder of photos, from its file label_names.json."""

import json
import os
from typing import Any

from scam_jax import console
from scam_jax.inference.decoding import printable

FILE = "label_names.json"
_REMEDY = 'write a list such as ["background", "hair"], whose first name is that of number 0'


def read(directory: str | os.PathLike) -> tuple[str, ...]:
    """Returns the names of the numbers from 0 on, empty if the folder has no such file.

    Args:
      directory: the folder that contains the splits.

    Raises:
      ValueError: the file cannot be read or is no list of different names; names it.
    """
    file = console.path(os.fspath(directory)) / FILE
    if not file.exists():
        return ()
    try:
        names: Any = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{printable(file)} cannot be read ({error}): {_REMEDY}") from error
    fault = _fault(names)
    if fault:
        raise ValueError(f"{printable(file)} {fault}: {_REMEDY}")
    return tuple(printable(name.strip()) for name in names)


def _fault(names: Any) -> str:
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        return "is no list of names"
    for name in map(str.strip, names):
        if not name or name.isdigit():
            return f"has {name!r}, which is no name"
        if names.count(name) > 1:
            return f"has the name {name!r} more than once"
    return ""
