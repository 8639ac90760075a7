"""Values of main.py's flags: files, labels and checkpoints. A wrong one raises ValueError."""

import pathlib
from collections.abc import Iterable, Sequence

from absl.flags import FlagValues

from scam_jax import images
from scam_jax.runs import run_folder


def pair(flag: str, value: str | None) -> tuple[str, str | None]:
    """Splits IMAGE,LABELS into two files. Their names may hold commas if both files exist.

    Args:
      flag: the flag's name.
      value: its value, or None if it is not given.

    Returns:
      The photo and its label map, which is None if the value is a photo alone.
    """
    if not value:
        raise ValueError(f"--{flag}=IMAGE,LABELS is needed: a photo and its label map")
    alone = run_folder.place(f"--{flag}", value)
    if "," not in value or alone.is_file():
        return str(alone), None
    parts = value.split(",")
    splits = [(",".join(parts[:i]), ",".join(parts[i:])) for i in range(1, len(parts))]
    places = [
        (run_folder.place(f"--{flag}", image), run_folder.place(f"--{flag}", labels))
        for image, labels in splits
    ]
    existing = [(a, b) for a, b in places if a.is_file() and b.is_file()]
    if len(places) > 1 and not existing:
        raise ValueError(
            f"--{flag}={value}: no comma divides this into two files that exist: a photo and its "
            "label map are needed"
        )
    image, labels = (existing or places)[0]
    return str(image), str(labels)


def output(value: str | None, inputs: Iterable[str | None]) -> pathlib.Path:
    """Checks the file that a command will write, before its work.

    Args:
      value: the value of --output, or None if it is not given.
      inputs: files that the command reads, which it must not replace.
    """
    if not value:
        raise ValueError("--output=OUT.png is needed: where to write the picture")
    file = run_folder.place("--output", value)
    images.check_output(file)
    for other in inputs:
        if other and file.exists() and pathlib.Path(other).exists() and file.samefile(other):
            raise ValueError(f"--output={value} would replace {other}: give another file")
    return file


def recipe(value: str, given: FlagValues) -> pathlib.Path:
    """Converts the value of --recipe, which holds what other flags would say.

    Args:
      value: its value.
      given: all flags.
    """
    for name in ("subject", "target", "labels", "absent"):
        if given[name].present:
            raise ValueError(
                f"--{name} and --recipe exclude each other: a recipe has both pictures"
            )
    return run_folder.place("--recipe", value)


def folder(value: str | None) -> pathlib.Path:
    """Converts the value of --output, if it is a folder; None if it is not given."""
    if not value:
        raise ValueError("--output=DIR is needed: the folder to write")
    return run_folder.place("--output", value)


def photos(value: str | None) -> pathlib.Path:
    """Converts the value of --photos, a folder."""
    if not value:
        raise ValueError("--photos=DIR is needed: a folder of photos without label maps")
    return run_folder.place("--photos", value)


def numbers(flag: str, values: Sequence[str] | None) -> list[int] | None:
    """Converts the values of a flag, or None if it is not given."""
    wrong = [value for value in values or [] if not value.strip().isdigit()]
    if wrong:
        raise ValueError(f"--{flag}: {wrong[0]!r} is not a number")
    return None if values is None else [int(value) for value in values]


def latent(values: Sequence[str] | None) -> tuple[int, int] | None:
    """Converts the values of --latent, or None if it is not given."""
    found = numbers("latent", values)
    if found is None:
        return None
    if len(found) != 2:
        raise ValueError("--latent=LABEL,NUMBER: two numbers are needed")
    return found[0], found[1]


def checkpoint(value: str) -> str | int:
    """Converts the value of --checkpoint, see `TrainedModel.load`."""
    if value in ("newest", "best"):
        return value
    if not value.isdigit():
        raise ValueError(f"--checkpoint={value}: use newest, best, or the step of a checkpoint")
    return int(value)
