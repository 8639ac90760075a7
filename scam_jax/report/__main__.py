"""The command: `python -m scam_jax.report RUN… [--output=DIR] [--published=DATASET]`."""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from scam_jax.report import published, write


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m scam_jax.report",
        description="Reports runs side by side, as report.html and report.md.",
    )
    parser.add_argument(
        "runs", nargs="+", type=pathlib.Path, metavar="RUN", help="a run, or a folder of runs"
    )
    parser.add_argument(
        "--output", type=pathlib.Path, default="report", metavar="DIR", help="default: %(default)s"
    )
    parser.add_argument(
        "--published",
        metavar="DATASET",
        help="which published data set a folder of images is: " + ", ".join(published.DATA_SETS),
    )
    arguments = parser.parse_args(argv)
    try:
        path = write(arguments.runs, arguments.output, arguments.published)
    except (OSError, ValueError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
