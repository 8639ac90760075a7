"""Model FLOPs utilization: how long a training step would take at the peak of the devices."""

from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from scam_jax.cost import chips, flops


def seconds_at_peak(config: ConfigDict, mesh: Mesh) -> float | None:
    """Seconds of a training step if all devices computed at their peak all the time.

    The peak is that of bfloat16, also for a run that computes in float32.

    Args:
      config: of the run.
      mesh: the devices.

    Returns:
      seconds; None if the peak of the devices is not known (see `chips`).
    """
    device = mesh.devices.flat[0]
    chip = chips.of_device(device)
    if chip is None:
        return None
    # XLA names GPUs by their maker; those whose peak is known are NVIDIA's.
    platform = "cuda" if device.platform == "gpu" else device.platform
    count = flops.model_flops(config, platform)
    if count is None:
        return None
    seconds = count / (chip.flops_per_second * mesh.size)
    logging.info(
        "a step is %.4g TFLOP: %.4g s at the bfloat16 peak of %d × %s",
        count / 1e12,
        seconds,
        mesh.size,
        chip.name,
    )
    return seconds
