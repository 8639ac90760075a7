"""The order of SCAM's latents: which latents belong to which label."""

import dataclasses
import functools

import jax
import numpy as np

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class LatentLayout:
    """The order of the N latents: those of the background, then those of each further label.

    Slots arrange the latents by label. Every label has K slots, where K is the largest number of
    latents of a label; some slots may be empty.

    Attributes:
      num_labels: number of labels L.
      latents_per_label: number of latents of each label but the background.
      background_latents: number of latents of the background.
    """

    num_labels: int
    latents_per_label: int
    background_latents: int

    @functools.cached_property
    def owners(self) -> np.ndarray:
        """The label of each latent, `[N]`."""
        counts = [self.background_latents] + [self.latents_per_label] * (self.num_labels - 1)
        return np.repeat(np.arange(self.num_labels), counts)

    @functools.cached_property
    def filled(self) -> np.ndarray:
        """Whether each slot holds a latent, bool `[L, K]`."""
        counts = np.bincount(self.owners)
        return np.arange(counts.max()) < counts[:, None]

    def to_slots(self, latents: Array) -> Array:
        """Moves latents to slots: `[B, N, ...]` to `[B, L, K, ...]`, arbitrary in empty slots."""
        if self.filled.all():
            return latents.reshape(latents.shape[0], *self.filled.shape, *latents.shape[2:])
        latent = np.cumsum(self.filled).reshape(self.filled.shape) - 1
        return latents[:, latent]

    def from_slots(self, slots: Array) -> Array:
        """Moves latents back from slots: `[B, L, K, ...]` to `[B, N, ...]`."""
        flat = slots.reshape(slots.shape[0], -1, *slots.shape[3:])
        return flat if self.filled.all() else flat[:, np.flatnonzero(self.filled)]
