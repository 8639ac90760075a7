"""What every check of a config says: the key, its value and what to do."""

from typing import Any


def require(holds: bool, key: str, value: Any, remedy: str) -> None:
    """Raises ValueError that names a key of the config, its value and a remedy, unless it holds."""
    if not holds:
        raise ValueError(f"config.{key} = {value!r}: {remedy}")
