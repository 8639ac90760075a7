"""Checks photos and label maps of one's own before training: what there is, and all its faults.

    python -m data.check DIRECTORY [--label_map='0|1,2|*'] [--num_labels=N] [--output=check.png]

DIRECTORY is laid out as data/folder.py says. A report goes to standard output, a picture of samples
to --output. The exit status is 0 without faults, 1 with faults, 2 if nothing could be checked.
"""

import argparse
import collections
import os
import pathlib
import shlex
import sys
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data.checker.findings import Report, Split, check, flags
from scam_jax import images
from scam_jax.inference import photos

_TILE, _GAP, _LINE, _LEGEND_ENTRY = 192, 4, 20, 56
_SHOWN = 5


def draw(report: Report) -> np.ndarray:
    """Samples as photo, labels and both, each with its number, and the labels' colours.

    Args:
        report: what a check found, with at least one sample.

    Returns:
        The picture, uint8 `[H, W, 3]`.

    Raises:
        ValueError: a sample cannot be read any more.
    """
    num_labels, strips, occurring = report.label_map.num_labels, [], set()
    for number, (split, name) in enumerate(report.samples, start=1):
        pair = report.splits[split].usable[name]
        image, labels = photos.read_pair(*pair, report.label_map)
        occurring |= set(np.unique(labels))
        strip = images.grid([_tiles(image, labels, num_labels)], _GAP)
        # The font has ASCII alone; the report has the names as they are.
        title = f"{number}  {split}/{name}".encode("ascii", "replace").decode()
        strips.append(np.concatenate([_text_line(title, strip.shape[1]), strip]))
    columns = min(2, len(strips))
    rows = [strips[i : i + columns] for i in range(0, len(strips), columns)]
    samples = images.grid(rows, 3 * _GAP)
    legend = _legend(sorted(occurring), num_labels, samples.shape[1])
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
    """The report as text; `output` is where the picture of its samples lies, if it has any."""
    splits = report.splits
    lines = ["Pairs"]
    for name, split in splits.items():
        lines.append(f"  {name:12}{split.num_pairs:>8} ({len(split.usable)} usable)")
    sizes = sum((split.sizes for split in splits.values()), collections.Counter())
    lines += ["", "Sizes of photos, height×width"]
    lines += [f"  {h}×{w}: {count}" for (h, w), count in sizes.most_common(_SHOWN)]
    if len(sizes) > _SHOWN:
        others = sizes.total() - sum(count for _, count in sizes.most_common(_SHOWN))
        lines.append(f"  {len(sizes) - _SHOWN} other sizes: {others}")
    lines += ["", "Labels of usable pairs: share of pixels, photos that contain it"]
    lines += _label_table(splits)
    for title, entries in (("Warnings", report.warnings), ("Faults", report.faults)):
        lines += ["", f"{title}: {len(entries)}", *(f"  - {entry}" for entry in entries)]
    if report.samples:
        names = (f"{i} {'/'.join(sample)}" for i, sample in enumerate(report.samples, start=1))
        lines += ["", f"Samples in {output}: {', '.join(names)}"]
    return "\n".join([*lines, "", _verdict(report)])


def _label_table(splits: dict[str, Split]) -> Iterator[str]:
    yield "  label" + "".join(f"{name:>22}" for name in splits)
    for label in np.flatnonzero(sum(split.pixels for split in splits.values())):
        line = f"  {label:>5}"
        for split in splits.values():
            count = split.pixels[label]
            share = f"{count / split.pixels.sum():.2%}" if count else "–"
            line += f"{share:>12}{split.containing[label]:>10}"
        yield line


def _verdict(report: Report) -> str:
    if report.faults:
        count = f"{len(report.faults)} fault{'s' * (len(report.faults) > 1)}"
        if all(split.num_pairs == len(split.usable) for split in report.splits.values()):
            return f"{count}: mend them."
        return (
            f"{count}: mend them, or set --config.data.skip_bad_files=True to train without the "
            "files that cannot be read."
        )
    labels = flags(report.label_map.text, report.label_map.num_labels)
    directory = shlex.quote(str(report.directory))
    return f"No faults: train with --config.data.directory={directory} {labels}"


def main(argv: Sequence[str] | None = None) -> int:
    """Checks the folder that the command line names; returns the exit status."""
    parser = argparse.ArgumentParser("python -m data.check", description=__doc__.splitlines()[0])
    parser.add_argument("directory", help="folder of train, test and maybe validation")
    parser.add_argument("--label_map", default="", help="as config.data.label_map")
    parser.add_argument("--num_labels", type=int, help="as config.data.num_labels")
    parser.add_argument("--output", type=pathlib.Path, default="check.png", help="picture, PNG")
    arguments = parser.parse_args(argv)
    try:
        _require_writable(arguments.output)
        report = check(arguments.directory, arguments.label_map, arguments.num_labels)
        if report.samples:
            images.save(arguments.output, draw(report))
    except (OSError, ValueError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    print(describe(report, arguments.output))
    return 1 if report.faults else 0


def _require_writable(output: pathlib.Path) -> None:
    """Raises before anything is read, not after."""
    if output.suffix.lower() != ".png":
        raise ValueError(f"--output={output}: must end in .png")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        is_new = not output.exists()
        output.open("ab").close()
        if is_new:
            output.unlink()
    except OSError as error:
        raise OSError(f"cannot write --output={output} ({error.strerror}): name another") from error


if __name__ == "__main__":
    # File names need not be text.
    sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(main())
