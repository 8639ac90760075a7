"""Compiled programs on disk, so that the second start of a command takes seconds."""

import contextlib
import os
import pathlib
import platform
import secrets

import jax
from absl import logging
from etils import epath
from jax.experimental.compilation_cache import compilation_cache

from scam_jax import buckets, console
from scam_jax.devices import agreement, sharding

OFF = "off"
_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
# Programs that compile faster than this are not kept.
_LEAST_SECONDS = 0.2


def use(value: str | None) -> None:
    """Chooses the folder of compiled programs, which JAX reads and writes from then on.

    A folder that cannot be written is left alone, with a warning. Of several processes, only the
    first writes programs, and if some load a program that others compile, these may wait for each
    other for ever (GPUs share what they tune). So several processes use a folder only if all see
    it. Every process calls this, after it has joined the others.

    Args:
      value: the folder, in a bucket too; 'off' for none; or None for the environment's
        `JAX_COMPILATION_CACHE_DIR`, and without it `~/.cache/scam_jax/HOST`, or none with several
        processes.
    """
    given = os.environ.get(_VARIABLE) if value is None else value
    alone = jax.process_count() == 1
    wants = given != OFF and (bool(given) or alone)
    if not agreement.everywhere(wants):
        if wants:
            logging.warning(
                "compiled programs are not kept: not every process has a folder for them; give "
                "each the same --compilation_cache=DIR"
            )
        _turn_off()
        return
    folder = buckets.path(given) if given else epath.Path(_default())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not buckets.is_in_bucket(folder) and not os.access(folder, os.W_OK):
            raise PermissionError(f"{folder} is not writable")
        fault = ""
    except (OSError, ImportError) as error:  # the second one for URLs of other stores
        fault = str(error)
    if not alone and not _all_see(folder, fault):
        fault = fault or f"not every process sees what process 0 writes to {folder}"
    if fault:
        logging.warning(
            "compiled programs are not kept: %s; --compilation_cache=DIR gives another folder",
            fault,
        )
        _turn_off()
        return
    if value is None and given:
        return  # JAX has read it, and `JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS` too.
    jax.config.update("jax_compilation_cache_dir", str(folder))
    compilation_cache.reset_cache()
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def _turn_off() -> None:
    jax.config.update("jax_enable_compilation_cache", False)
    # What was compiled to agree, JAX has looked up in the environment's folder, and would go on so.
    compilation_cache.reset_cache()


def _all_see(folder: epath.Path, fault: str) -> bool:
    """Returns whether every process finds a file that the first one writes."""
    (number,) = agreement.of_first_process([secrets.randbelow(2**31)])
    file = folder / f"shared-{number}"
    is_first = jax.process_index() == 0
    with contextlib.suppress(OSError):  # Then no process sees it.
        if is_first and not fault:
            file.write_text("Removed at once.")
    sharding.wait_for_all("cache folder tried")
    seen = agreement.everywhere(not fault and file.exists())
    with contextlib.suppress(OSError):
        if is_first:
            file.unlink(missing_ok=True)
    return seen


def _default() -> pathlib.Path:
    # A program for a CPU may use instructions that other hosts of a shared home lack.
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return console.path(base) / "scam_jax" / platform.node()
