"""A small evaluation: a model whose noise shows, random examples, and judges of a few numbers."""

import jax
import jax.numpy as jnp
import numpy as np

from data import pipeline
from helpers import small
from helpers.loop import mesh_of
from scam_jax import models
from scam_jax.evaluation.data import EvaluationData, RealImages
from scam_jax.evaluation.evaluator import Evaluator
from scam_jax.evaluation.judges import Judges
from scam_jax.evaluation.results import AUTHORS, OURS
from scam_jax.inference.model import TrainedModel
from scam_jax.training import state


class FewNumbers:
    """Judges of a few features, quick to compute; what they are asked is what matters here."""

    def __init__(self):
        self.missing, self.hashes = {}, {"inception": "abc", "reid": "def", "lpips": "ghi"}

    def __contains__(self, judge):
        return judge in self.hashes

    def inception(self, image):
        return jnp.concatenate([image.mean((1, 2)), image[:, 3, 4], image.max((1, 2))], axis=1)

    def clean_inception(self, image):
        return self.inception(image)[:, ::-1] / 2

    def person(self, image, labels):
        return jnp.einsum("bhwc,bhw->bc", image - 128, (labels > 0).astype(jnp.float32))

    def lpips(self, image, target):
        return jnp.abs(image - target).max((1, 2, 3))


def noisy_model():
    """Its noise shows in the images."""
    config = small.shallow()
    variables = state.create(config, models.build(config)).eval_variables()
    noisy = jax.tree_util.tree_map_with_path(
        lambda path, x: x + 1 if "noise" in jax.tree_util.keystr(path) else x, variables
    )
    return TrainedModel(config, noisy)


def examples(count, seed=0):
    random = np.random.default_rng(seed)
    return [
        {
            "image": random.integers(0, 256, (16, 16, 3), dtype=np.uint8),
            "label": random.integers(0, 3, (16, 16), dtype=np.uint8),
        }
        for _ in range(count)
    ]


def known_transfers(count):
    """The truth is the target."""
    return [
        {
            "subject_image": s["image"],
            "subject_label": s["label"],
            "target_image": t["image"],
            "target_label": t["label"],
            "transfer_image": t["image"],
        }
        for s, t in zip(examples(count, 1), examples(count, 2), strict=True)
    ]


def evaluation_of(
    model,
    folder,
    people,
    devices=1,
    batch=4,
    seeds=1,
    transfers=None,
    real=None,
    judges=None,
    parser=None,
):
    real = real or {p: RealImages(f"real_{p}", examples(6, 3)) for p in (AUTHORS, OURS)}
    data = EvaluationData(
        name="noise",
        split="test",
        source=people,
        real=real,
        label_names=("background", "skin", "hair"),
        transfers=transfers,
        batches=lambda source: pipeline.eval_batches(
            source,
            batch_size=batch,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        ),
    )
    mesh = mesh_of(devices)
    judges = judges or Judges(folder / "weights", mesh)
    evaluator = Evaluator(model.config, mesh, data, judges, folder, parser)
    return evaluator.evaluate(model.variables, 7, seeds)
