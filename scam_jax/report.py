"""Reports runs side by side: figures, what is missing, curves, pictures, configs.

  python -m scam_jax.report RUN… [--output=DIR] [--published=DATASET]

A RUN is a folder that main.py trained in, or one that holds such folders, as a study. Runs whose
configs differ in the seed alone are one model. Writes DIR/report.html, which needs no other file,
and DIR/report.md with DIR/pictures.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from scam_jax import published, report_html, report_markdown
from scam_jax.report_content import collect


def write(
    folders: Sequence[pathlib.Path], output: pathlib.Path, of_folders: str | None = None
) -> pathlib.Path:
    """Writes a report of runs.

    Args:
      folders: of runs, or that hold runs.
      output: folder for report.html, report.md and pictures/.
      of_folders: the published data set that runs on a folder of images are of, 'idesigner' for
        instance; nothing in a folder tells.

    Returns:
      the path of report.html.

    Raises:
      FileNotFoundError: a folder is not there, or is no run and holds none.
      ValueError: a file is damaged, runs contradict each other, or `of_folders` has no meaning.
    """
    report = collect(folders, of_folders)
    page = report_html.html(report)
    output.mkdir(parents=True, exist_ok=True)
    report_markdown.write(report, output)
    path = output / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


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
