"""The sections of a report, and the texts that explain them."""

import datetime
import re
from collections.abc import Mapping, Sequence

from etils import epath

from scam_jax.evaluation.results import AUTHORS, OURS
from scam_jax.report import document, facts, pictures, published, runs, tables
from scam_jax.report.document import Note, Section, Table

# How to read tables, by a pattern of the marks that occur in them.
_MARKS: Mapping[str, str] = {
    "best": """Bold: best of a column among the models of this report; published values and methods
        without a model do not compete. A lead smaller than the deviations means nothing.""",
    r"± \S*\d ": """±: standard deviation (n − 1) over training seeds, of each run's mean
        over evaluation seeds.""",
    tables.OF_EVALUATION: """±…ᵉ: standard deviation over the evaluation's seeds of one run; another
        training may differ by more.""",
    "n =": "n: number of runs that have the metric, where some evaluated runs lack it.",
}
_PROTOCOLS: Mapping[str, str] = {
    AUTHORS: """Images are truncated to integers 0 … 255. PSNR comes from one mean squared error
        over the data set, with max − min of the targets as peak. FID is against the train split
        with its augmentation. S-FID permutes all latents, including the background's, at random
        within groups of 8 images, where an image may keep its own. One evaluation seed.""",
    OURS: """Images are rounded to integers, as in an image file. PSNR, SSIM, L1 (of images in
        [−1, 1]) and LPIPS are means over images; a folded table has their spread. FID is against
        the train split without augmentation. Clean FID resizes images with antialiasing (Parmar et
        al. 2022). KID (Bińkowski et al. 2018) is unbiased for few images. S-FID, S-KID and ReID are
        of subject transfers between seeded pairs of the whole split; no image is paired with
        itself. Several seeds of pairs and noise.""",
    published.PUBLISHED: f"""Printed in {published.SOURCE}. Those models were trained on all of
        train, and the released code chooses their checkpoint by R-FID on the reported split. Runs
        here are evaluated at their last checkpoint and hold out a part of train unless
        data.train_split is 'authors_train'. How the pairs of ReID were drawn was never released,
        so the published ReID has columns of its own.""",
}
_TRANSFERS = """PSNR of a transfer against the perfect result: of the whole image, and of the
    subject's pixels alone. Target unchanged and mean colours need no model. Mean colours paints
    each region of the target in the subject's mean colour of that region and keeps the target's own
    background, which a model has to generate."""
_REGIONS = """In dB, our protocol, over all pixels of a region in the split; images is the number of
    images with the region."""
_CURVES = """Lines are means over training seeds. Bands reach from the lowest to the highest seed.
    Only steps that all seeds of a model have logged are drawn. Long curves of training are means
    of consecutive values."""
_PICTURES = "One training seed per model, the same images for all models."


def write(
    folders: Sequence[epath.Path], output: epath.Path, of_folders: str | None = None
) -> epath.Path:
    """Writes a report of runs.

    Args:
      folders: runs, or folders that contain runs.
      output: folder for report.html, report.md and pictures/.
      of_folders: the published data set that a folder of images contains, such as 'idesigner', for
        runs with data.name = 'folder'.

    Returns:
      The path of report.html.

    Raises:
      FileNotFoundError: a folder does not exist or contains no run.
      ValueError: a file is damaged, runs contradict each other, or `of_folders` is impossible.
    """
    models = runs.read(folders)
    if of_folders is not None:
        published.check_key(of_folders, [model.config for model in models])
    groups = tables.groups_of(models)
    found = [tables.metric_tables(group, of_folders) for group in groups]
    main, spreads, transfers = ([*filter(None, some)] for some in zip(*found, strict=True))
    regions = [table for group in groups for table in tables.region_tables(group)]
    missing = facts.missing_of(groups, models) or [Note("No metric is missing.")]
    warnings = facts.warnings_of(groups, models) or [Note("There are no warnings.")]
    sections = [
        Section("Metrics", "", [*main, *spreads], _reading(main)),
        Section("Missing metrics", notes=missing),
        Section("Warnings", notes=warnings),
        Section("Transfers against the truth", _TRANSFERS, transfers),
        Section("PSNR by region", _REGIONS, regions),
        Section("Curves", _CURVES, galleries=pictures.curves(models)),
        Section("Pictures", _PICTURES, galleries=pictures.panels(groups)),
        Section("Configs", "", facts.config_tables(models)),
    ]
    sections = [s for s in sections if s.tables or s.notes or s.galleries]
    data = ", ".join(dict.fromkeys(model.data for model in models))
    who = models[0].name if len(models) == 1 else f"{len(models)} models"
    now = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    about = facts.facts_of(models) | {"report made": {now: ""}}
    return document.write(output, f"{who} on {data}", about, sections)


def _reading(main: Sequence[Table]) -> list[Note]:
    """Explains the marks and protocols that occur in tables."""
    rows = [row for table in main for row in table.rows]
    marks = " ".join(f"{cell.rest} {cell.style}" for row in rows for cell in row)
    notes = [Note(text) for mark, text in _MARKS.items() if re.search(mark, marks)]
    shown = {cell.rest for table in main for cell in table.head}
    shown |= {published.PUBLISHED} if "reference" in marks else set()
    return notes + [Note(text, title) for title, text in _PROTOCOLS.items() if title in shown]
