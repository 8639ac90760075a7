"""Compiles the training step for a TPU pod that need not exist, and measures its cost.

The step is the same one that trains. The TPU compiler runs without a TPU.
"""

import importlib.util
import os
import re
import resource
import sys
import time
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from scam_jax import models
from scam_jax.cost import aot_report, chips, memory_traffic
from scam_jax.cost.flops import argument_shapes
from scam_jax.devices import sharding
from scam_jax.runs import validation
from scam_jax.training.step import make_train_step

EXAMPLES = "v5e:4x4, v5e:16x16, v5p:4x4x4, v6e:16x16 or v4:4x4x4"
# With these variables, the compiler does not search for a TPU and its neighbours.
_ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-16",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
# Compiles in a fifth of the time; the step then needs a little more memory and moves more bytes.
_EFFORT = ("JAX_EXEC_TIME_OPTIMIZATION_EFFORT", "-1.0")
_SIZE = r"([\d.]+[KMGT]?)"
# The compiler's two errors about memory: the first comes while it places buffers, the second before
# that, if the step's temporaries alone exceed the memory.
_TOO_LITTLE_MEMORY = re.compile(
    rf"Used {_SIZE} of {_SIZE} hbm|temporaries \({_SIZE}\) exceeds available HBM \({_SIZE}\)"
)


def restart_prepared() -> None:
    """Restarts this process with the environment that the TPU compiler needs, if necessary.

    The compiler reads environment variables when it is loaded. It also needs the largest stack,
    which is set when a process starts, because some programs for v6e overflow the default stack.
    """
    os.environ.setdefault(*_EFFORT)
    _, most = resource.getrlimit(resource.RLIMIT_STACK)
    stack_is_small = resource.getrlimit(resource.RLIMIT_STACK)[0] != most
    if not stack_is_small and _ENVIRONMENT.items() <= os.environ.items():
        return
    os.environ.update(_ENVIRONMENT)
    resource.setrlimit(resource.RLIMIT_STACK, (most, most))
    os.execv(sys.executable, sys.orig_argv)


def topology_mesh(name: str, slices: int = 1) -> Mesh:
    """Returns the mesh of a TPU topology, with one device per chip.

    Args:
      name: name of a slice's topology, such as `v5e:16x16`.
      slices: number of such slices, which only the network of the data center joins.

    Raises:
      ValueError: there is no such topology.
      ModuleNotFoundError: the TPU compiler is not installed.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise ModuleNotFoundError(
            "the TPU compiler, libtpu, is not installed: run `make pod-check`, which installs it "
            f"in a separate environment, or `pip install 'jax[tpu]=={jax.__version__}'`"
        )
    # In training, the two cores of a v4 chip are one device; here this needs an option.
    options: dict[str, Any] = {"chip_config_name": "megacore"} if name.startswith("v4:") else {}
    if slices > 1:
        options["num_slices"] = slices
    try:
        topology = topologies.get_topology_desc(name, platform="tpu", **options)
    except jax.errors.JaxRuntimeError as error:
        raise ValueError(f"topology {name!r}: {error}; use one like {EXAMPLES}") from None
    return Mesh(np.array(topology.devices), (sharding.DATA,))


def chip_of(mesh: Mesh) -> chips.Chip:
    """Returns the chip of a mesh's devices.

    Raises:
      ValueError: its peaks are not known.
    """
    device = mesh.devices.flat[0]
    chip = chips.of_device(device)
    if chip is None:
        raise ValueError(
            f"the peaks of {device.device_kind!r} are not known: add it to scam_jax/cost/chips.py, "
            f"or use a topology like {EXAMPLES}"
        )
    return chip


def lower(config: ConfigDict, mesh: Mesh) -> jax.stages.Lowered:
    """Lowers the training step for the devices of a mesh, which need not exist."""
    networks = models.build(config, batch_axis=sharding.DATA)
    everywhere, split = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("data",)))

    def placed(tree, where):
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), tree)

    shapes = argument_shapes(config, networks)
    arguments = map(placed, shapes, (everywhere, split, everywhere))
    return make_train_step(config, networks, mesh).lower(*arguments)


def compile_for(config: ConfigDict, topology: str, slices: int = 1) -> aot_report.Report:
    """Compiles the training step for a topology.

    Args:
      config: the whole config.
      topology: name of a slice's topology, such as `v5e:16x16`.
      slices: number of such slices.

    Returns:
      The report. It has no cost if the step does not fit into the memory of a chip.

    Raises:
      ValueError: the config or the topology is impossible.
      ModuleNotFoundError: the TPU compiler is not installed.
    """
    mesh = topology_mesh(topology, slices)
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
    return aot_report.Report(config, topology, slices, chip, mesh.size, seconds, cost, needs)


def cost_of(compiled: jax.stages.Compiled, parts: int) -> aot_report.Cost:
    """Returns the cost of a compiled step per chip.

    Args:
      compiled: the compiled training step.
      parts: number of parts of the batch, that is iterations of the accumulation loop.
    """
    memory: Any = compiled.memory_analysis()
    cost: Any = compiled.cost_analysis()
    text: Any = compiled.as_text()
    places = memory_traffic.bytes_by_place(text)
    return aot_report.Cost(
        peak_bytes=memory.peak_memory_in_bytes,
        argument_bytes=memory.argument_size_in_bytes,
        temporary_bytes=memory.temp_size_in_bytes,
        # XLA counts the body of the loop once. The update outside the loop is counted too often.
        flops=cost["flops"] * parts,
        bytes_accessed=cost["bytes accessed"] * parts,
        bytes_moved=sum(places.values()),
        traffic=aot_report.traffic_of(text),
        between_slices=aot_report.traffic_between_slices(text),
        places=places,
    )


def memory_needed(error: str) -> str:
    """Extracts needed and available memory from the compiler's error, 'at least … of …'."""
    match = _TOO_LITTLE_MEMORY.search(error)
    if match is None:
        return f"more than the chip's memory ({error.splitlines()[0]})"
    needed, available = filter(None, match.groups())
    return f"at least {_with_unit(needed)} of {_with_unit(available)}"


def _with_unit(size: str) -> str:
    """Formats a size of XLA's, '15.75G', as '15.75 GiB'."""
    return f"{size[:-1]} {size[-1]}iB" if size[-1].isalpha() else f"{size} B"
