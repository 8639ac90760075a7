"""What a process of its own writes; imported there, so it needs little."""

import pathlib

from scam_jax import files


def write_often(file: pathlib.Path, content: str) -> None:
    """Writes a file again and again."""
    for _ in range(200):
        files.write(file, content)
