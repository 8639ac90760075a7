"""The environment of all tests and their processes. It must be set before JAX is imported."""

import importlib.metadata
import os


def set_up(compiled: str) -> None:
    """Sets the environment.

    Args:
      compiled: the folder of compiled programs, which tests and processes share.
    """
    # Eight devices for the tests of data parallelism. Nearly all the time goes to compilation, so
    # XLA optimizes little.
    flags = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
    # The older emitter of fusions compiles in half the time. Newer versions of XLA lack it, and
    # abort the process if they are asked for it.
    if importlib.metadata.version("jaxlib").startswith("0.10."):
        flags += " --xla_cpu_use_fusion_emitters=false"
        # On a loaded machine, one of eight devices may come late to a collective.
        flags += " --xla_cpu_collective_call_terminate_timeout_seconds=1200"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}"
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = compiled
    # Servers and other processes of this machine are not behind a proxy.
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1,localhost"]))
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
