"""Published peaks of accelerators, keyed by JAX's name of the device, `device.device_kind`."""

import dataclasses

import jax

_GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """The peaks of a chip. A TPU chip is one JAX device, regardless of its number of cores.

    Attributes:
      name: the maker's name of the chip.
      flops_per_second: peak of dense bfloat16 matrix products.
      bytes_per_second: bandwidth of its memory (HBM).
      memory_bytes: size of its memory (HBM).
    """

    name: str
    flops_per_second: float
    bytes_per_second: float
    memory_bytes: float


# Source: docs.cloud.google.com/tpu/docs/v4, /v5e, /v5p, /v6e: "Peak compute per chip (bf16)", "HBM
# bandwidth" and "HBM capacity". Capacities in GB are GiB, as the limits in XLA's errors show.
_TPU_V4 = Chip("TPU v4", 275e12, 1228e9, 32 * _GIB)
_TPU_V5E = Chip("TPU v5e", 197e12, 819e9, 16 * _GIB)
_TPU_V5P = Chip("TPU v5p", 459e12, 2765e9, 95 * _GIB)
_TPU_V6E = Chip("TPU v6e", 918e12, 1638e9, 32 * _GIB)

# Source: NVIDIA's data sheets "A100 Tensor Core GPU" (bfloat16 without sparsity), "H100 Tensor Core
# GPU" and "H200 Tensor Core GPU". The latter two give the peak with sparsity, twice the dense peak.
_A100_40GB = Chip("A100 40GB", 312e12, 1555e9, 40e9)
_A100_80GB_SXM = Chip("A100 80GB SXM", 312e12, 2039e9, 80e9)
_A100_80GB_PCIE = Chip("A100 80GB PCIe", 312e12, 1935e9, 80e9)
_H100_SXM = Chip("H100 SXM", 989e12, 3350e9, 80e9)
_H100_PCIE = Chip("H100 PCIe", 756e12, 2000e9, 80e9)
_H200 = Chip("H200 SXM", 989e12, 4800e9, 141e9)

# JAX has two names for most TPUs (jax/_src/pallas/mosaic/tpu_info.py). Names of GPUs come from the
# driver.
CHIPS = {
    "TPU v4": _TPU_V4,
    "TPU v5 lite": _TPU_V5E,
    "TPU v5e": _TPU_V5E,
    "TPU v5": _TPU_V5P,
    "TPU v5p": _TPU_V5P,
    "TPU v6 lite": _TPU_V6E,
    "TPU v6e": _TPU_V6E,
    "NVIDIA A100-SXM4-40GB": _A100_40GB,
    "NVIDIA A100-PCIE-40GB": _A100_40GB,
    "NVIDIA A100-SXM4-80GB": _A100_80GB_SXM,
    "NVIDIA A100 80GB PCIe": _A100_80GB_PCIE,
    "NVIDIA H100 80GB HBM3": _H100_SXM,
    "NVIDIA H100 PCIe": _H100_PCIE,
    "NVIDIA H200": _H200,
}


def of_device(device: jax.Device) -> Chip | None:
    """Returns the chip of a device, or None if the table does not have it."""
    return CHIPS.get(device.device_kind)
