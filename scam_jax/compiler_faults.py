"""Keeps XLA from computing wrong values on CPUs."""

import importlib.metadata
import importlib.util
import os

from scam_jax import host_memory

# Versions of jaxlib that add up the results of products wrongly on CPUs, for some sizes from 32 769
# on, where YNNPACK does both at once (https://github.com/jax-ml/jax/issues/39103).
_AFFECTED = ("0.10.2",)
_OPTION = "--xla_cpu_experimental_ynn_fusion_type"


def avoid() -> None:
    """Turns YNNPACK's programs off, if the installed jaxlib is affected and JAX has CPUs alone.

    With them, gradients of the discriminator at 256×170 pixels were off by up to 2 %. JAX reads the
    option from XLA_FLAGS when it first computes. The user's own choice counts.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if _OPTION in flags or importlib.util.find_spec("jaxlib") is None:
        return
    if host_memory.only_cpus() and importlib.metadata.version("jaxlib") in _AFFECTED:
        os.environ["XLA_FLAGS"] = f"{flags} {_OPTION}=".strip()
