"""The text and the picture of a report."""

import collections
import os
import shlex
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data.checker.report import Report
from data.checker.warnings import label_flags
from scam_jax import images
from scam_jax.inference import photos

# Sizes in pixels.
_TILE, _GAP, _LINE, _LEGEND_ENTRY = 192, 4, 20, 56
_SIZES_SHOWN = 5


def draw(report: Report) -> np.ndarray:
    """Draws the numbered samples (photo, labels and both blended) and the colours of the labels.

    Args:
      report: the report of a check, with at least one sample.

    Returns:
      The picture, uint8 `[H, W, 3]`.

    Raises:
      ValueError: a sample can no longer be read.
    """
    num_labels, strips, occurring = report.label_map.num_labels, [], set()
    for number, (split, name) in enumerate(report.samples, start=1):
        pair = report.splits[split].usable[name]
        read = photos.read_pair(*pair, report.label_map, report.colors)
        occurring |= set(np.unique(read.labels))
        strip = images.grid([_tiles(read.image, read.labels, num_labels)], _GAP)
        # The font has only ASCII characters; the text of the report shows the full name.
        title = f"{number}  {split}/{name}".encode("ascii", "replace").decode()
        strips.append(np.concatenate([_text_line(title, strip.shape[1]), strip]))
    columns = min(2, len(strips))
    rows = [strips[i : i + columns] for i in range(0, len(strips), columns)]
    samples = images.grid(rows, 3 * _GAP)
    legend = _legend(sorted(occurring - {num_labels}), num_labels, samples.shape[1])
    margins = (_GAP, _GAP), (_GAP, _GAP), (0, 0)
    return np.pad(np.concatenate([samples, legend]), margins, constant_values=255)


def _tiles(image: np.ndarray, labels: np.ndarray, num_labels: int) -> list[np.ndarray]:
    height, width = labels.shape
    scale = _TILE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    photo = np.asarray(Image.fromarray(image).resize(size))
    numbers = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
    colours = images.colorize(numbers, num_labels)
    blend = (photo // 2 + colours // 2).astype(np.uint8)
    tiles = [np.full((_TILE, _TILE, 3), 255, np.uint8) for _ in range(3)]
    for tile, picture in zip(tiles, (photo, colours, blend), strict=True):
        tile[: size[1], : size[0]] = picture
    return tiles


def _text_line(text: str, width: int) -> np.ndarray:
    line = Image.new("RGB", (width, _LINE), "white")
    ImageDraw.Draw(line).text((0, 3), text, "black", ImageFont.load_default(12))
    return np.asarray(line)


def _legend(labels: Sequence[int], num_labels: int, width: int) -> np.ndarray:
    columns, colours = width // _LEGEND_ENTRY, images.palette(num_labels)
    rows = -(-len(labels) // columns)
    legend = Image.new("RGB", (width, _LINE * (rows + 1)), "white")
    canvas, font = ImageDraw.Draw(legend), ImageFont.load_default(12)
    for i, label in enumerate(labels):
        x, y = i % columns * _LEGEND_ENTRY, _LINE * (i // columns) + _LINE // 2
        canvas.rectangle((x, y, x + 20, y + 14), tuple(colours[label].tolist()))
        canvas.text((x + 26, y), str(label), "black", font)
    return np.asarray(legend)


def describe(report: Report, output: os.PathLike) -> str:
    """Returns the report as text.

    Args:
      report: the report of a check.
      output: path of the picture, which exists if the report has samples.
    """
    splits = report.splits
    lines = ["Pairs"]
    for name, split in splits.items():
        lines.append(f"  {name:12}{split.num_pairs:>8} ({len(split.usable)} usable)")
    sizes = sum((split.sizes for split in splits.values()), collections.Counter())
    lines += ["", "Sizes of photos, height×width"]
    lines += [f"  {h}×{w}: {count}" for (h, w), count in sizes.most_common(_SIZES_SHOWN)]
    if len(sizes) > _SIZES_SHOWN:
        others = sizes.total() - sum(count for _, count in sizes.most_common(_SIZES_SHOWN))
        lines.append(f"  {len(sizes) - _SIZES_SHOWN} other sizes: {others}")
    lines += ["", "Labels of usable pairs: share of pixels, photos that contain it"]
    lines += _label_table(report)
    for title, entries in (("Warnings", report.warnings), ("Faults", report.faults)):
        lines += ["", f"{title}: {len(entries)}", *(f"  - {entry}" for entry in entries)]
    if report.samples:
        names = (f"{i} {'/'.join(sample)}" for i, sample in enumerate(report.samples, start=1))
        lines += ["", f"Samples in {output}: {', '.join(names)}"]
    return "\n".join([*lines, "", _verdict(report)])


def _label_table(report: Report) -> Iterator[str]:
    splits, names = report.splits, report.label_names
    yield "  label" + "".join(f"{name:>22}" for name in splits)
    for label in np.flatnonzero(sum(split.pixels for split in splits.values())):
        line = f"  {label:>5}"
        for split in splits.values():
            count = split.pixels[label]
            share = f"{count / split.pixels.sum():.2%}" if count else "–"
            line += f"{share:>12}{split.containing[label]:>10}"
        yield f"{line}  {names[label]}" if names else line
    if any(split.left_out for split in splits.values()):
        counts = (f"{split.left_out} of {name}" for name, split in splits.items())
        yield f"  Pixels left out: {', '.join(counts)}"


def _verdict(report: Report) -> str:
    if report.faults:
        count = f"{len(report.faults)} fault{'s' * (len(report.faults) > 1)}"
        if any(split.layout_faults for split in report.splits.values()):
            return f"{count}: fix them."
        return (
            f"{count}: fix them, or set --config.data.skip_bad_files=True to train without the "
            "files that cannot be read."
        )
    flags = label_flags(report.label_map, report.colors)
    directory = shlex.quote(str(report.directory))
    return f"No faults: train with --config.data.directory={directory} {flags}"
