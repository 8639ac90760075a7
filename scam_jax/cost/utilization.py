"""Model FLOPs utilization: the time of a training step at the peak of the devices."""

from collections.abc import Callable

from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from scam_jax.cost import chips, flops


def seconds_at_peak(config: ConfigDict, mesh: Mesh) -> Callable[[int], float] | None:
    """Returns the time of a training step with all devices at their peak all the time.

    The peak is the bfloat16 peak, even for a run in float32.

    Args:
      config: the whole config.
      mesh: devices to train on.

    Returns:
      The time in seconds as a function of the step, counted from 1; or None if the peak of the
      devices is unknown (see `chips`) or the FLOPs cannot be counted.
    """
    device = mesh.devices.flat[0]
    chip = chips.of_device(device)
    if chip is None:
        return None
    # XLA's name of a GPU platform depends on the maker; all GPUs of the table are NVIDIA's.
    platform = "cuda" if device.platform == "gpu" else device.platform
    count = flops.model_flops(config, platform)
    if count is None:
        return None
    peak = chip.flops_per_second * mesh.size
    last = count(config.train.num_steps)
    logging.info(
        "a training step has %.4g TFLOP: %.4g s at the bfloat16 peak of %d × %s",
        *(last / 1e12, last / peak, mesh.size, chip.name),
    )
    return lambda step: count(step) / peak
