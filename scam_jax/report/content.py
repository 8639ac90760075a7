"""All that a report says, put together from runs; how it is written is not known here."""

import dataclasses
import datetime
import pathlib
from collections.abc import Mapping, Sequence

from scam_jax.evaluation.results import AUTHORS, OURS
from scam_jax.report import facts, figure_tables, published
from scam_jax.report.curves import Plots, plots_of
from scam_jax.report.facts import Configs, Fact, Note
from scam_jax.report.figure_tables import Group
from scam_jax.report.pictures import Panel, panels_of
from scam_jax.report.regions import region_tables
from scam_jax.report.runs import Model, read
from scam_jax.report.tables import PUBLISHED_ROW, Table

_BEST = (
    "Bold is the best of a column among the models here; what is published, or needs no model, "
    "does not compete. A lead that is smaller than the deviations is none."
)
_OVER_RUNS = (
    "± is the standard deviation (n − 1) over the training seeds, of each run's mean over the "
    "evaluation's seeds."
)
_OVER_EVALUATIONS = (
    "± with e is over the evaluation's seeds of one run: another training may differ by more."
)
_SOME_RUNS = "n = is the number of runs that have the figure, where not all evaluated ones have it."
PROTOCOLS: Mapping[str, str] = {
    AUTHORS: (
        "Images are cut off to whole numbers 0 … 255. PSNR is of one mean squared error over the "
        "data set, with max − min of the targets as peak. FID is against the train split with its "
        "augmentation. S-FID: all latents, the background's too, permuted at random among groups "
        "of 8 images, where one may stay in place. One evaluation seed."
    ),
    OURS: (
        "Images are rounded to whole numbers, as a file holds them. PSNR, SSIM, L1 (of images in "
        "[−1, 1]) and LPIPS are of each image, then averaged; their spread over images is below. "
        "FID is against the train split as it is. S-FID and ReID are of subject transfers, in "
        "seeded pairs of the whole split without fixed points. Several seeds of pairs and noise."
    ),
    published.PUBLISHED: (
        f"Printed in {published.SOURCE}, for models trained on all of train, whose checkpoint the "
        "released code chooses by R-FID on the split that it reports. Runs here are of their last "
        "checkpoint, and hold out a part of train unless data.train_split is 'authors_train'. "
        "How ReID's pairs came about was never released: its figures stand apart."
    ),
}
GROUP_NAMES = figure_tables.GROUPS


@dataclasses.dataclass(frozen=True)
class Report:
    """A report's parts, in their order; see the functions that make them."""

    title: str
    made: str
    models: Sequence[Model]
    facts: Sequence[Fact]
    tables: Sequence[Table]
    reading: Sequence[str]
    spreads: Sequence[Table]
    protocols: Mapping[str, str]
    missing: Sequence[tuple[str, Note]]
    warnings: Sequence[Note]
    transfers: Sequence[Table]
    regions: Sequence[Table]
    plots: Sequence[Plots]
    panels: Sequence[Panel]
    configs: Configs


def collect(folders: Sequence[pathlib.Path], of_folders: str | None = None) -> Report:
    """Reads runs, and puts together what there is to say of them.

    Args:
      folders: of runs, or that hold runs.
      of_folders: the published data set that a data set named 'folder' is, a key of
        `published.DATA_SETS`.

    Raises:
      FileNotFoundError, ValueError: as `runs.read`; or `of_folders` has no meaning here.
    """
    models = read(folders)
    if of_folders is not None:
        _check_published(models, of_folders)
    groups = figure_tables.groups_of(models)
    tables = [_main_table(group, of_folders) for group in groups]
    shown = {column.group for table in tables for column in table.columns}
    shown |= {GROUP_NAMES[published.PUBLISHED]} if _has_published(tables) else set()
    data = ", ".join(str(data) for data in dict.fromkeys(model.data for model in models))
    who = models[0].name if len(models) == 1 else f"{len(models)} models"
    return Report(
        title=f"{who} on {data}",
        made=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        models=models,
        facts=facts.facts_of(models),
        tables=tables,
        reading=_reading(tables),
        spreads=[t for group in groups if (t := figure_tables.spread_table(group))],
        protocols={GROUP_NAMES[p]: t for p, t in PROTOCOLS.items() if GROUP_NAMES[p] in shown},
        missing=facts.missing_of(groups, models),
        warnings=facts.warnings_of(groups, models),
        transfers=[t for group in groups if (t := figure_tables.transfer_table(group))],
        regions=[t for group in groups for t in region_tables(group)],
        plots=plots_of(models),
        panels=panels_of(groups),
        configs=facts.configs_of(models),
    )


def _reading(tables: Sequence[Table]) -> list[str]:
    """How to read what stands in the tables."""
    cells = [cell for table in tables for row in table.rows for cell in row.cells]
    lines = {
        _BEST: any(cell.is_best for cell in cells),
        _OVER_RUNS: any(cell.deviation and not cell.of_evaluation for cell in cells),
        _OVER_EVALUATIONS: any(cell.of_evaluation for cell in cells),
        _SOME_RUNS: any(cell.note for cell in cells),
    }
    return [line for line, applies in lines.items() if applies]


def _has_published(tables: Sequence[Table]) -> bool:
    return any(row.kind == PUBLISHED_ROW for table in tables for row in table.rows)


def _main_table(group: Group, of_folders: str | None) -> Table:
    """With the published rows where they are of the same images."""
    paper = published.find(group.data.name, of_folders)
    if paper is None or group.split != published.SPLIT:
        return figure_tables.main_table(group, None)
    size = group.data.height, group.data.width
    if size == paper.size:
        table = figure_tables.main_table(group, paper)
        return dataclasses.replace(table, notes=[f"Published: {published.SOURCE}."])
    table = figure_tables.main_table(group, None)
    wanted, given = ("×".join(map(str, s)) for s in (paper.size, size))
    note = f"The figures published for {paper.title} are of {wanted} images, not {given}: not shown"
    return dataclasses.replace(table, notes=[f"{note}."])


def _check_published(models: Sequence[Model], of_folders: str) -> None:
    flag = f"--published={of_folders}"
    if of_folders not in published.DATA_SETS:
        names = ", ".join(published.DATA_SETS)
        raise ValueError(f"{flag}: there is no such data set; use one of {names}")
    directories = sorted({model.data.directory for model in models if model.data.directory})
    if not any(model.data.name == "folder" for model in models):
        raise ValueError(
            f"{flag} says what a folder of images is, but no run is of one (data.name = 'folder'); "
            "leave it out"
        )
    if len(directories) > 1:
        raise ValueError(
            f"{flag} says what one folder of images is, but the runs are of "
            f"{' and '.join(directories)}: report them apart"
        )
