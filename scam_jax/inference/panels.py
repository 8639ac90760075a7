"""Pictures that show a model's results beside their inputs. All are `uint8 [H', W', 3]`.

Transfers are made as the published figures are: where the subject lacks a label, with the model's
guess, except in `attention`.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from scam_jax import images
from scam_jax.examples import Picture
from scam_jax.inference import attention_maps
from scam_jax.inference.model import TrainedModel
from scam_jax.inference.sources import GUESS, TARGET, Labels


def panel(model: TrainedModel, people: Sequence[Picture]) -> np.ndarray:
    """Draws one row per picture except the last, for monitoring a training run.

    Args:
      model: a trained model.
      people: the pictures.

    Returns:
      Columns show a picture, its labels, its reconstruction, and the transfer of the next picture's
      subject.
    """
    rows = []
    for target, subject in itertools.pairwise(people):
        labels = images.colorize(target.labels, model.config.data.num_labels)
        reconstruction = model.reconstruct(*target)
        image = model.transfer(*subject, *target, absent=GUESS)
        rows.append([target.image, labels, reconstruction, image])
    return images.grid(rows)


def reconstructions(model: TrainedModel, people: Sequence[Picture]) -> np.ndarray:
    """Draws one column per picture: the image, its labels and its reconstruction."""
    columns = [
        [
            person.image,
            images.colorize(person.labels, model.config.data.num_labels),
            model.reconstruct(*person),
        ]
        for person in people
    ]
    return images.grid(list(zip(*columns, strict=True)))


def transfers(model: TrainedModel, pairs: Sequence[tuple[Picture, Picture]]) -> np.ndarray:
    """Draws one column per pair: subject, target, the target's labels and the transfer."""
    columns = [
        [
            subject.image,
            target.image,
            images.colorize(target.labels, model.config.data.num_labels),
            model.transfer(*subject, *target, absent=GUESS),
        ]
        for subject, target in pairs
    ]
    return images.grid(list(zip(*columns, strict=True)))


def contact_sheet(
    model: TrainedModel, pairs: Sequence[tuple[Picture, Picture]], absent: str = GUESS
) -> np.ndarray:
    """Draws one row per pair: subject, target, reconstructed target and transfer.

    The labels of subject and target are shown beside their images.

    Args:
      model: a trained model.
      pairs: (subject, target) pairs of pictures of any size.
      absent: what stands in for labels that the subject lacks, see `sources`.

    Raises:
      ValueError: wrong shapes, or a label that the model does not know.
    """
    rows = []
    for subject, target in pairs:
        subject, target = model.fit("subject", subject), model.fit("target", target)
        shown = [
            part
            for person in (subject, target)
            for part in (
                person.image,
                images.colorize(person.labels, model.config.data.num_labels),
            )
        ]
        transferred = model.transfer(*subject, *target, absent=absent)
        rows.append([*shown, model.reconstruct(*target), transferred])
    return images.grid(rows)


def gallery(model: TrainedModel, triplets: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray:
    """Draws transfers beside their true results, two triplets per row.

    Args:
      model: a trained model.
      triplets: examples with `subject_image`, `subject_label`, `target_image`, `target_label` and
        `transfer_image`, the true result.

    Returns:
      Each triplet shows subject, target, transfer and true result.
    """
    cells = []
    for t in triplets:
        people = t["subject_image"], t["subject_label"], t["target_image"], t["target_label"]
        image = model.transfer(*people, absent=GUESS)
        cells.append([t["subject_image"], t["target_image"], image, t["transfer_image"]])
    half = (len(cells) + 1) // 2
    columns = [images.grid(part) for part in (cells[:half], cells[half:]) if part]
    height = max(column.shape[0] for column in columns)
    width = columns[0].shape[1]
    padded = []
    for column in columns:
        canvas = np.full((height, width, 3), 255, np.uint8)
        canvas[: column.shape[0]] = column
        padded.append(canvas)
    return images.grid([padded], gap=10)


def attention(
    model: TrainedModel,
    subject: Picture,
    target: Picture,
    latent: tuple[int, int] | None = None,
    labels: Labels | None = None,
    absent: str = TARGET,
) -> np.ndarray:
    """Draws all attention maps of a transfer, the encoder's above the generator's.

    The arguments are those of `attention_maps.draw`.
    """
    drawn = attention_maps.draw(model, subject, target, latent, labels, absent)
    return images.stacked([*drawn.values()])


def of_evaluation(
    model: TrainedModel, pairs: Sequence[tuple[Picture, Picture]]
) -> dict[str, np.ndarray]:
    """Draws the pictures of an evaluation.

    Args:
      model: a trained model.
      pairs: (subject, target) pairs.

    Returns:
      Pictures by name: reconstructions, transfers, and the attention maps of the first pair if the
      model has attention.
    """
    maps = {}
    if attention_maps.has_attention(model):
        maps = attention_maps.draw(model, *pairs[0], absent=GUESS)
    return {
        "reconstruction": reconstructions(model, [target for _, target in pairs]),
        "transfer": transfers(model, pairs),
        **{f"attention_{name}": picture for name, picture in maps.items()},
    }
