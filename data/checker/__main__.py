"""Checks a folder of photos and label maps before training: its contents, and every fault.

  python -m data.checker DIRECTORY [--label_map='0|1,2|*'] [--num_labels=N] [--colors=FILE]
      [--ignore_label=N] [--output=check.png]

data/folder.py describes the layout of DIRECTORY. The report goes to standard output, a picture of
sample pairs to --output. The exit status is 0 without faults, 1 with faults, and 2 if the folder
could not be checked.
"""

import argparse
import pathlib
from collections.abc import Sequence

from absl import app
from absl.flags import argparse_flags

from data.checker import findings, presentation
from scam_jax import console, images

_PROGRAM = "python -m data.checker"


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parses the command line, whose first entry is the program."""
    parser = argparse_flags.ArgumentParser(prog=_PROGRAM, description=__doc__.splitlines()[0])
    parser.add_argument("directory", help="folder of train, test and optionally validation")
    parser.add_argument("--label_map", default="", help="as config.data.label_map")
    parser.add_argument("--num_labels", type=int, help="as config.data.num_labels")
    parser.add_argument("--colors", default="", help="as config.data.colors")
    parser.add_argument("--ignore_label", type=int, default=-1, help="as config.data.ignore_label")
    parser.add_argument("--output", type=console.path, default="check.png", help="picture, PNG")
    return parser.parse_args(argv[1:])


def main(arguments: argparse.Namespace) -> int:
    """Checks a folder, prints the report and returns the exit status."""
    with console.ended_by_one_line(_PROGRAM, status=2):
        _require_writable(arguments.output, console.path(arguments.directory))
        report = findings.check(
            arguments.directory,
            arguments.label_map,
            arguments.num_labels,
            arguments.colors,
            arguments.ignore_label,
        )
        if report.samples:
            images.save(arguments.output, presentation.draw(report))
    print(presentation.describe(report, arguments.output))
    return 1 if report.faults else 0


def _require_writable(output: pathlib.Path, directory: pathlib.Path) -> None:
    """Raises an error before the files are read rather than afterwards."""
    own = [*directory.glob("*/images"), *directory.glob("*/labels")]
    if output.parent.resolve() in [folder.resolve() for folder in own]:
        raise ValueError(f"--output={output} would be a file of {directory}: name another folder")
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
    app.run(main, flags_parser=parse)
