"""Wrong values of XLA on CPUs, which the package keeps away."""

import importlib.metadata
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import program

from scam_jax import compiler_faults


@pytest.mark.parametrize("columns", [4096, 32_769, 40_961, 43_520])
def test_products_are_added_up_rightly(columns):
    """Where they are not, training and evaluation go wrong without a word."""
    first = jnp.arange(1, columns + 1, dtype=jnp.float32)
    vectors = jnp.stack([first, jnp.zeros_like(first), jnp.zeros_like(first)], axis=1)

    @jax.jit
    def squared_norms(vectors):
        return jax.vmap(lambda vector: jnp.sum((jnp.eye(3) @ vector) ** 2))(vectors)

    np.testing.assert_allclose(squared_norms(vectors), first**2, rtol=1e-6)


def test_a_release_s_own_program_is_protected_too():
    script = """
import sys
sys.path.insert(0, "scam_jax/inference")
import run_exported
import jax, jax.numpy as jnp

first = jnp.arange(1, 40_962, dtype=jnp.float32)
vectors = jnp.stack([first, 0 * first, 0 * first], axis=1)
norms = jax.jit(jax.vmap(lambda vector: jnp.sum((jnp.eye(3) @ vector) ** 2)))(vectors)
assert jnp.allclose(norms, first**2), norms
"""
    own = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    subprocess.run([sys.executable, "-c", script], check=True, cwd=program.ROOT, env=own)


def test_the_user_s_own_flags_count(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.10.2")
    for flags, expected in (
        ("", "--xla_cpu_experimental_ynn_fusion_type="),
        ("--a=1", "--a=1 --xla_cpu_experimental_ynn_fusion_type="),
        (own := "--xla_cpu_experimental_ynn_fusion_type=dot", own),
    ):
        monkeypatch.setenv("XLA_FLAGS", flags)
        compiler_faults.avoid()
        assert compiler_faults.os.environ["XLA_FLAGS"] == expected
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.10.1")
    monkeypatch.setenv("XLA_FLAGS", "--a=1")
    compiler_faults.avoid()
    assert compiler_faults.os.environ["XLA_FLAGS"] == "--a=1", "others may not know the option"
