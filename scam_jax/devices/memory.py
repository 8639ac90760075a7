"""Memory of devices."""

import jax


def peak_gigabytes() -> float | None:
    """Returns the most gigabytes that a device of this process ever held, None if unknown."""
    found = [device.memory_stats() for device in jax.local_devices()]
    return max((x["peak_bytes_in_use"] / 1e9 for x in found if x), default=None)
