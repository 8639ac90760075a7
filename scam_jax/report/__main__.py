"""The command: `python -m scam_jax.report RUN… [--output=DIR] [--published=DATASET]`."""

import argparse
from collections.abc import Sequence

from absl import app
from absl.flags import argparse_flags
from etils import epath

from scam_jax import console
from scam_jax.report import published, write
from scam_jax.runs import run_folder


def _place(text: str) -> epath.Path:
    try:
        return run_folder.place_or_bucket("the place", text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parses the command line; `argv[0]` is the program."""
    parser = argparse_flags.ArgumentParser(
        prog="python -m scam_jax.report",
        description="Compares runs in report.html and report.md.",
        conflict_handler="resolve",  # Other modules may define flags of the same names.
    )
    parser.add_argument(
        "runs", nargs="+", type=_place, metavar="RUN", help="a run, or a folder of runs"
    )
    parser.add_argument(
        "--output", type=_place, default="report", metavar="DIR", help="default: %(default)s"
    )
    parser.add_argument(
        "--published",
        metavar="DATASET",
        help="published data set in a folder of images: " + ", ".join(published.DATA_SETS),
    )
    return parser.parse_args(argv[1:])


def main(arguments: argparse.Namespace) -> None:
    """Writes the report."""
    with console.ended_by_one_line("python -m scam_jax.report"):
        print(f"wrote {write(arguments.runs, arguments.output, arguments.published)}")


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
