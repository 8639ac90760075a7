"""Compiles the training step for a TPU pod that need not exist, and measures what it needs.

It is the step that trains, compiled by the TPU's own compiler, which runs without a TPU.
"""

import importlib.util
import os
import re
import resource
import sys
import time

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from scam_jax import models
from scam_jax.cost import aot_report, chips
from scam_jax.cost.flops import argument_shapes
from scam_jax.devices import sharding
from scam_jax.runs import validation
from scam_jax.training.step import make_train_step

EXAMPLES = "v5e:4x4, v5e:16x16, v5p:4x4x4, v6e:16x16 or v4:4x4x4"
# The compiler looks for a TPU of its own and for its neighbours unless it is told of some.
_ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-16",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    # A fifth of the time to compile, a little more memory in the result.
    "JAX_EXEC_TIME_OPTIMIZATION_EFFORT": "-1.0",
}
_SIZE = r"([\d.]+[KMGT]?)"
# The compiler ends so while it places buffers, or before, if those within the step alone are more.
_TOO_LITTLE_MEMORY = re.compile(
    rf"Used {_SIZE} of {_SIZE} hbm|temporaries \({_SIZE}\) exceeds available HBM \({_SIZE}\)"
)


def restart_prepared() -> None:
    """Starts this process anew with what the TPU's compiler needs, unless it has it already.

    That is variables which are read when it is loaded, and a stack which is set when a process
    starts: some programs for v6e overflow the usual one.
    """
    _, most = resource.getrlimit(resource.RLIMIT_STACK)
    stack_is_small = resource.getrlimit(resource.RLIMIT_STACK)[0] != most
    if not stack_is_small and _ENVIRONMENT.items() <= os.environ.items():
        return
    os.environ.update(_ENVIRONMENT)
    resource.setrlimit(resource.RLIMIT_STACK, (most, most))
    os.execv(sys.executable, sys.orig_argv)


def topology_mesh(name: str) -> Mesh:
    """The mesh of a described TPU topology, a device a chip.

    Args:
      name: of the topology, as `v5e:16x16`.

    Raises:
      ValueError: there is no such topology.
      ModuleNotFoundError: the TPU's compiler is not installed.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise ModuleNotFoundError(
            "the TPU's compiler, libtpu, is not installed: run `make pod-check`, which installs it "
            f"in an environment of its own, or `pip install 'jax[tpu]=={jax.__version__}'`"
        )
    # Two cores of a v4 are one device in training, but not by this function's default.
    options = {"chip_config_name": "megacore"} if name.startswith("v4:") else {}
    try:
        topology = topologies.get_topology_desc(name, platform="tpu", **options)
    except jax.errors.JaxRuntimeError as error:
        raise ValueError(f"topology {name!r}: {error}; use one like {EXAMPLES}") from None
    return Mesh(np.array(topology.devices), (sharding.DATA,))


def chip_of(mesh: Mesh) -> chips.Chip:
    """The kind of chip that a mesh is made of.

    Raises:
      ValueError: its peaks are not known.
    """
    device = mesh.devices.flat[0]
    chip = chips.of_device(device)
    if chip is None:
        raise ValueError(
            f"the peaks of {device.device_kind!r} are not known: add it to scam_jax/cost/chips.py, or "
            f"use a topology like {EXAMPLES}"
        )
    return chip


def lower(config: ConfigDict, mesh: Mesh) -> jax.stages.Lowered:
    """Lowers the training step of a config for the devices of a mesh, which need not exist."""
    networks = models.build(config, batch_axis=sharding.DATA)
    everywhere, split = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("data",)))

    def placed(tree, where):
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), tree)

    shapes = argument_shapes(config, networks)
    arguments = map(placed, shapes, (everywhere, split, everywhere))
    return make_train_step(config, networks, mesh).lower(*arguments)


def compile_for(config: ConfigDict, topology: str) -> aot_report.Report:
    """Compiles the training step for a described topology.

    Raises:
      ValueError: the config or the topology is impossible.
      ModuleNotFoundError: the TPU's compiler is not installed.
    """
    mesh = topology_mesh(topology)
    chip = chip_of(mesh)
    validation.validate(config, mesh.size)
    start = time.perf_counter()
    cost, needs = None, ""
    try:
        cost = cost_of(lower(config, mesh).compile(), config.train.accumulation_steps)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        needs = memory_needed(str(error))
    seconds = time.perf_counter() - start
    return aot_report.Report(config, topology, chip, mesh.size, seconds, cost, needs)


def cost_of(compiled: jax.stages.Compiled, parts: int) -> aot_report.Cost:
    """What a compiled step costs a chip; its batch is taken in `parts` by a loop."""
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    return aot_report.Cost(
        peak_bytes=memory.peak_memory_in_bytes,
        argument_bytes=memory.argument_size_in_bytes,
        temporary_bytes=memory.temp_size_in_bytes,
        # XLA counts a loop's body once; so the update, outside it, counts too often.
        flops=cost["flops"] * parts,
        bytes_accessed=cost["bytes accessed"] * parts,
        traffic=aot_report.traffic_of(compiled.as_text()),
    )


def memory_needed(error: str) -> str:
    """Of the compiler's error of too little memory, what the program needs of what there is."""
    match = _TOO_LITTLE_MEMORY.search(error)
    if match is None:
        return f"more than the chip's memory ({error.splitlines()[0]})"
    needed, available = filter(None, match.groups())
    return f"at least {_with_unit(needed)} of {_with_unit(available)}"


def _with_unit(size: str) -> str:
    """XLA's `15.75G` in full."""
    return f"{size[:-1]} {size[-1]}iB" if size[-1].isalpha() else f"{size} B"
