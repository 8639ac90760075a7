"""Tables of PSNR by region; rows are regions."""

from collections.abc import Sequence

from scam_jax.report.figure_tables import Group, Numbered, cell_of, figures_of, keys_of, summary_of
from scam_jax.report.runs import Model
from scam_jax.report.tables import RUN, Column, Row, Table, best_of

_REGION = "label "


def region_tables(group: Group) -> list[Table]:
    """PSNR of each region, a table for each meaning that labels have; rows are regions."""
    meanings: dict[tuple, list[Numbered]] = {}
    for numbered in group.models:
        config = numbered[1].config
        meaning = config["data.num_labels"], config["data.label_map"]
        meanings.setdefault(meaning, []).append(numbered)
    tables = []
    for (count, label_map), models in meanings.items():
        title = f"{group.title} · {count} labels" + (f" by {label_map!r}" if label_map else "")
        table = _region_table(group._replace(models=models), title)
        tables += [table] if table.rows else []
    return tables


def _region_table(group: Group, title: str) -> Table:
    models = [numbered for numbered in group.models if numbered[1].evaluated(group.split)]
    names = _names([model for _, model in models], group.split)
    rows = []
    for key in sorted(
        (key for key in keys_of(group) if key.part.startswith(_REGION)),
        key=lambda key: (len(key.part), key.part),
    ):
        summaries = [summary_of(model, group.split, key) for _, model in models]
        best = best_of(summaries, higher_is_better=True)
        cells = [
            cell_of(summary, len(model.evaluated(group.split)), best)
            for summary, (_, model) in zip(summaries, models, strict=True)
        ]
        figures = [f for _, model in models for _, f in figures_of(model, group.split, key)]
        counts = sorted({f.count for f in figures if f.count is not None})
        about = " or ".join(f"{count:,}" for count in counts)
        number = key.part.removeprefix(_REGION)
        rows.append(Row(names.get(number, key.part), RUN, cells, about))
    columns = [Column(model.name, "↑") for _, model in models]
    return Table(title, ("region", "images"), columns, rows)


def _names(models: Sequence[Model], split: str) -> dict[str, str]:
    """'13 hair' by '13', where an evaluation tells what the labels are called."""
    evaluations = (run.evaluations[split] for model in models for run in model.evaluated(split))
    names = next((e.label_names for e in evaluations if e.label_names), ())
    return {str(number): f"{number} {name}" for number, name in enumerate(names)}
