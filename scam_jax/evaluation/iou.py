"""Judges the label maps of a parser: intersection over union, over all pixels of a split."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from scam_jax.devices import sharding
from scam_jax.evaluation.data import EvaluationData
from scam_jax.evaluation.results import OURS, Evaluation, Figure, of_label
from scam_jax.images import to_float
from scam_jax.models.parser import Parser

Array = jax.Array


class ParserEvaluator:
    """Evaluates parsers on one split. Its program is compiled once."""

    def __init__(self, parser: Parser, mesh: Mesh, data: EvaluationData):
        """Builds the program, without computing.

        Args:
          parser: the network.
          mesh: devices that split each batch.
          data: data to evaluate on.
        """
        self.num_labels, self.mesh, self.data = parser.num_labels, mesh, data
        self._count = _counter(parser, mesh)

    def evaluate(self, params: Any, step: int) -> Evaluation:
        """Computes the figures of a parser. Every process must call this; each gets all figures.

        Args:
          params: the parser's parameters, on any device.
          step: training step of the parameters.

        Returns:
          The mean IoU over the labels that the split shows, the IoU of each label, and the share of
          pixels with the right label.
        """
        params = jax.device_put(jax.device_get(params), sharding.replicated(self.mesh))
        confusion = np.zeros((self.num_labels, self.num_labels), np.int64)
        for local in self.data.batches(self.data.source):
            batch = sharding.to_global(dict(local), self.mesh)
            confusion += np.asarray(self._count(params, batch), np.int64)
        return Evaluation(
            step=step,
            data=self.data.name,
            split=self.data.split,
            count=len(self.data.source),
            figures=figures_of(confusion, len(self.data.source)),
            label_names=[*self.data.label_names],
        )


def figures_of(confusion: np.ndarray, count: int) -> list[Figure]:
    """Computes the figures of a confusion matrix.

    Args:
      confusion: pixels by true label and label of the parser, `[L, L]`.
      count: number of images.
    """
    true, found = confusion.sum(1), confusion.sum(0)
    shown = np.flatnonzero(true)
    ious = confusion.diagonal()[shown] / (true + found - confusion.diagonal())[shown]
    right = confusion.trace() / max(confusion.sum(), 1)
    return [
        Figure("mean IoU", OURS, (float(ious.mean()) if len(ious) else float("nan"),), count=count),
        Figure("accuracy", OURS, (float(right),), count=count),
        *(
            Figure("IoU", OURS, (float(iou),), part=of_label(label))
            for label, iou in zip(shown.tolist(), ious, strict=True)
        ),
    ]


def _counter(parser: Parser, mesh: Mesh) -> Callable[[Any, Mapping[str, Array]], Array]:
    def count(params: Any, batch: Mapping[str, Array]) -> Array:
        logits = cast(Array, parser.apply({"params": params}, to_float(batch["image"])))
        found = logits.argmax(-1)
        true, size = batch["label"].astype(jnp.int32), parser.num_labels
        # Pixels that are left out, and images that fill a batch up, go to no place.
        counts = (true < size) & (batch["mask"] > 0)[:, None, None]
        place = jnp.where(counts, true * size + found, size**2)
        return jnp.bincount(place.ravel(), length=size**2).reshape(size, size)

    return jax.jit(count, out_shardings=sharding.replicated(mesh))
