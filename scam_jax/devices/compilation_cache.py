"""Compiled programs on disk, so that the second start of a command takes seconds."""

import os
import pathlib
import platform

import jax
from absl import logging

OFF = "off"
_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
# Programs that compile faster than this are not kept.
_LEAST_SECONDS = 0.2


def use(value: str | None) -> None:
    """Chooses the folder of compiled programs, which JAX reads and writes from then on.

    A folder that cannot be written is left alone, with a warning.

    Args:
      value: the folder; 'off' for none; or None for the environment's
        `JAX_COMPILATION_CACHE_DIR`, and `~/.cache/scam_jax/HOST` without it.
    """
    if value is None and os.environ.get(_VARIABLE):
        return  # JAX has read it, and `JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS` too.
    if value == OFF:
        jax.config.update("jax_enable_compilation_cache", False)
        return
    folder = pathlib.Path(value).expanduser() if value else _default()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"{folder} is not writable")
    except OSError as error:
        logging.warning(
            "compiled programs are not kept: %s; --compilation_cache=DIR gives another folder",
            error,
        )
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def _default() -> pathlib.Path:
    # A program for a CPU may use instructions that other hosts of a shared home lack.
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return pathlib.Path(base).expanduser() / "scam_jax" / platform.node()
