"""Memory of programs that compute on CPUs: what is freed is kept for the next step."""

import ctypes
import importlib.util
import os
import platform
import sys

# Of mallopt(3) in glibc.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_NEVER = -1
_PADDING = 64 * 2**20
# Packages with the devices that JAX knows besides CPUs.
_PLUGINS = ("jax_plugins", "libtpu")


def keep_freed() -> None:
    """Lets the C library keep freed memory, if JAX can only use CPUs.

    A compiled program takes hundreds of MB for each call and frees them after it. By default they
    go back to the system, which clears every page of them again at the next call: about a fifth of
    a small model's training step. Threads keep memory of their own: with one arena for all, a
    process that compiled its step ran it half as fast (benchmarks/RESULTS.md). Call this before JAX
    is imported. The user's own settings, `MALLOC_…`, count. Other C libraries than glibc are left
    alone.
    """
    if not (is_glibc() and only_cpus()) or any(name.startswith("MALLOC_") for name in os.environ):
        return
    library = ctypes.CDLL(None)
    settings = {_MMAP_MAX: 0, _TRIM_THRESHOLD: _NEVER, _TOP_PAD: _PADDING}
    for parameter, value in settings.items():
        library.mallopt(parameter, value)


def compute_on_calling_thread() -> None:
    """Lets programs whose inputs are ready run on the calling thread, if JAX can only use CPUs.

    By default they run on a thread of JAX's. Only the main thread's memory holds blocks of more
    than 64 MB; those of other threads go back to the system after each call, whatever `keep_freed`
    sets. Call this before JAX computes.
    """
    if only_cpus():
        import jax

        jax.config.update("jax_cpu_enable_async_dispatch", False)


def is_glibc() -> bool:
    """Returns whether the program's C library is glibc."""
    return sys.platform == "linux" and platform.libc_ver()[0] == "glibc"


def only_cpus() -> bool:
    """Returns whether JAX can use nothing but CPUs; does not import it."""
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return True
    return not any(importlib.util.find_spec(name) for name in _PLUGINS)
