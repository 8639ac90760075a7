"""Reports runs side by side: figures, what is missing, curves, pictures, configs.

  python -m scam_jax.report RUN… [--output=DIR] [--published=DATASET]

A RUN is a folder that main.py trained in, or one that holds such folders, as a study. Runs whose
configs differ in the seed alone are one model. Writes DIR/report.html, which needs no other file,
and DIR/report.md with DIR/pictures.
"""

import pathlib
from collections.abc import Sequence

from scam_jax.report import markdown, page
from scam_jax.report.content import collect


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
    text = page.html(report)
    output.mkdir(parents=True, exist_ok=True)
    markdown.write(report, output)
    path = output / "report.html"
    path.write_text(text, encoding="utf-8")
    return path
