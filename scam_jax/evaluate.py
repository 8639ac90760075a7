"""Figures of a trained model: reconstruction of a split, transfer where its truth is known."""

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from scam_jax import pictures, sharding, steps
from scam_jax.metrics import L1, PSNR
from scam_jax.transfer import Picture, TrainedModel

Batch = Mapping[str, np.ndarray]


def evaluate_reconstruction(
    model: TrainedModel, mesh: Mesh, batches: Iterable[Batch]
) -> dict[str, float]:
    """PSNR (dB) and L1 of reconstructions of a split, over all devices of `mesh`.

    Args:
      model: to evaluate.
      mesh: batches are split over its devices.
      batches: this host's share of `image`, `label` and `mask [B]`, 0 for padding.
    """

    def measure(variables, batch, index):
        # An image's noise follows its place in the split, whatever the size of the batches.
        size = batch["image"].shape[0]
        places = index * size + jnp.arange(size)
        keys = jax.vmap(functools.partial(jax.random.fold_in, jax.random.key(0)))(places)
        image = steps.reconstruct(model.networks, variables, batch["image"], batch["label"], keys)
        weight = jnp.broadcast_to(batch["mask"][:, None, None], batch["label"].shape)
        target = steps.to_float(batch["image"])
        return {
            "psnr": PSNR.from_images(image, target, weight),
            "l1": L1.from_images(image, target, weight),
        }

    measure = jax.jit(measure, out_shardings=sharding.replicated(mesh))
    # By way of the host: arrays of one process's device cannot go to another's.
    variables = jax.device_put(jax.device_get(model.variables), sharding.replicated(mesh))
    totals = {"psnr": PSNR.empty(), "l1": L1.empty()}
    for index, batch in enumerate(batches):
        measured = measure(variables, sharding.to_global(dict(batch), mesh), index)
        measured = jax.device_get(measured)
        totals = {name: total.merge(measured[name]) for name, total in totals.items()}
    return {f"reconstruction/{name}": float(total.compute()) for name, total in totals.items()}


def paint_mean_colours(
    subject_image: np.ndarray,
    subject_labels: np.ndarray,
    target_image: np.ndarray,
    target_labels: np.ndarray,
    num_labels: int,
) -> np.ndarray:
    """The target with each region but the background painted in the subject's mean colour of it.

    A region that the subject lacks takes the mean colour of the whole subject. All `uint8`.
    """
    painted = target_image.copy()
    for label in range(1, num_labels):
        pixels = subject_image[subject_labels == label]
        if not len(pixels):
            pixels = subject_image[subject_labels > 0]
        if len(pixels):
            painted[target_labels == label] = pixels.mean(axis=0).round()
    return painted


def evaluate_transfer(
    model: TrainedModel, triplets: Sequence[Batch], batch_size: int = 32
) -> dict[str, dict[str, float]]:
    """PSNR (dB) of transfers against their truth, of the model and of two baselines.

    Args:
      model: to evaluate.
      triplets: `subject_image`, `subject_label`, `target_image`, `target_label` and
        `transfer_image`, the image that a perfect transfer gives.
      batch_size: images at a time.

    Returns:
      {method: {'image': over all pixels, 'subject': over the subject's region}}, the methods
      being 'model', 'target unchanged' and 'mean colours'.
    """
    methods: dict[str, Callable[[Batch], np.ndarray]] = {
        "model": lambda b: model.transfer_batch(
            b["subject_image"], b["subject_label"], b["target_image"], b["target_label"]
        ),
        "target unchanged": lambda b: _float(b["target_image"]),
        "mean colours": lambda b: _float(_mean_colours(b, model.config.data.num_labels)),
    }
    totals = {m: {"image": PSNR.empty(), "subject": PSNR.empty()} for m in methods}
    for start in range(0, len(triplets), batch_size):
        examples = [triplets[i] for i in range(start, min(start + batch_size, len(triplets)))]
        batch = {key: np.stack([e[key] for e in examples]) for key in examples[0]}
        truth, region = _float(batch["transfer_image"]), batch["target_label"] > 0
        for method, transfer in methods.items():
            image = transfer(batch)
            for where, weight in (("image", np.ones_like(region)), ("subject", region)):
                psnr = PSNR.from_images(image, truth, weight.astype(np.float32))
                totals[method][where] = totals[method][where].merge(psnr)
    return {m: {w: float(p.compute()) for w, p in t.items()} for m, t in totals.items()}


def _float(image: np.ndarray) -> np.ndarray:
    return image / np.float32(127.5) - 1


def _mean_colours(batch: Batch, num_labels: int) -> np.ndarray:
    keys = "subject_image", "subject_label", "target_image", "target_label"
    examples = zip(*(batch[key] for key in keys), strict=True)
    return np.stack([paint_mean_colours(*example, num_labels) for example in examples])


def table(figures: Mapping[str, float], transfers: Mapping[str, Mapping[str, float]]) -> str:
    """The figures as Markdown."""
    lines = ["| reconstruction | |", "|---|---|"]
    lines += [f"| {name.split('/')[1]} | {value:.4g} |" for name, value in figures.items()]
    if transfers:
        lines += ["", "| PSNR of transfer, dB | whole image | subject's region |", "|---|---|---|"]
        lines += [
            f"| {method} | {psnr['image']:.2f} | {psnr['subject']:.2f} |"
            for method, psnr in transfers.items()
        ]
    return "\n".join(lines) + "\n"


def panel(model: TrainedModel, people: Sequence[Picture]) -> np.ndarray:
    """Rows of input, labels, reconstruction, and the next picture's subject transferred."""
    rows = []
    for target, subject in itertools.pairwise(people):
        labels = pictures.colorize(target.labels, model.config.data.num_labels)
        reconstruction = model.reconstruct(*target)
        rows.append([target.image, labels, reconstruction, model.transfer(*subject, *target)])
    return pictures.grid(rows)


def gallery(model: TrainedModel, triplets: Sequence[Batch]) -> np.ndarray:
    """Transfers beside their truth, two a row: subject, target, transfer, perfect transfer, gap."""
    cells = []
    for t in triplets:
        image = model.transfer(
            t["subject_image"], t["subject_label"], t["target_image"], t["target_label"]
        )
        cells.append([t["subject_image"], t["target_image"], image, t["transfer_image"]])
    half = (len(cells) + 1) // 2
    columns = [pictures.grid(part) for part in (cells[:half], cells[half:]) if part]
    height = max(column.shape[0] for column in columns)
    width = columns[0].shape[1]
    padded = []
    for column in columns:
        canvas = np.full((height, width, 3), 255, np.uint8)
        canvas[: column.shape[0]] = column
        padded.append(canvas)
    return pictures.grid([padded], gap=10)
