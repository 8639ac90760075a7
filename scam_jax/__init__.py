"""SCAM (Dufour, Picard, Kalogeiton, ECCV 2022) for JAX: per-region latents and subject transfer.

`from scam_jax import TrainedModel` is all that using a trained model needs.
"""

from typing import TYPE_CHECKING

from scam_jax import compiler_faults

__all__ = ["TrainedModel", "__version__"]
__version__ = "0.1.0"

compiler_faults.avoid()  # before JAX computes anything

if TYPE_CHECKING:
    from scam_jax.inference.model import TrainedModel
else:

    def __getattr__(name):
        # Imported when it is asked for: readers of data sets use this package without JAX.
        if name == "TrainedModel":
            from scam_jax.inference.model import TrainedModel

            return TrainedModel
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
