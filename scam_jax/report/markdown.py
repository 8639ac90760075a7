"""A report as Markdown, with its pictures as files beside it."""

import pathlib
import re
from collections.abc import Iterator, Sequence

from scam_jax.evaluation.results import number
from scam_jax.report import curves, pictures
from scam_jax.report.content import Report
from scam_jax.report.facts import Fact, Note, runs_table
from scam_jax.report.tables import Cell, Row, Table

_PICTURES = "pictures"
_SPECIAL = re.compile(r"([\\`*|\[\]])|(?<![A-Za-z0-9])(_)|(_)(?![A-Za-z0-9])")


def write(report: Report, output: pathlib.Path) -> None:
    """Writes `output/report.md` and `output/pictures/`."""
    (output / _PICTURES).mkdir(parents=True, exist_ok=True)
    lines = [f"# {plain(report.title)}", "", f"Made {report.made}.", ""]
    lines += [_fact(fact) for fact in report.facts]
    lines += _figures(report)
    lines += _notes(report)
    for title, tables in (
        ("Transfers against their truth", report.transfers),
        ("PSNR by region", report.regions),
    ):
        lines += ["", f"## {title}"] if tables else []
        for table in tables:
            lines += table_lines(table)
    lines += _curves(report, output)
    lines += _pictures(report, output)
    lines += _configs(report)
    (output / "report.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(lambda match: "\\" + match[0], text)


def code(text: str) -> str:
    """Text as code, whatever it holds; in tables too."""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}".replace("|", r"\|").replace("\n", " ")


def _fact(fact: Fact) -> str:
    if not fact.variants:
        return f"- **{plain(fact.title)}**: {plain(fact.value)}"
    variants = [f"  - {plain(value)}: {plain(names)}" for value, names in fact.variants]
    return "\n".join([f"- **{plain(fact.title)}** (differs):", *variants])


def _figures(report: Report) -> Iterator[str]:
    yield from ["", "## Figures"]
    for table in report.tables:
        yield from table_lines(table)
    yield ""
    yield from (f"- {plain(line)}" for line in report.reading)
    yield ""
    yield from (f"- **{plain(name)}**: {plain(text)}" for name, text in report.protocols.items())
    for table in report.spreads:
        yield from table_lines(table)


def table_lines(table: Table) -> list[str]:
    """A table under its title; a column's head has its protocol, as Markdown has one head."""
    heads = [*table.heads]
    for column in table.columns:
        name = " ".join(filter(None, [plain(column.title), column.arrow]))
        heads.append(f"{name}<br>{plain(column.group)}" if column.group else name)
    lines = ["", f"**{plain(table.title)}**", "", _row(heads)]
    lines.append("|---|---|" + "---:|" * len(table.columns))
    lines += [_table_row(row, len(table.columns)) for row in table.rows]
    lines += [line for note in table.notes for line in ("", plain(note))]
    return lines


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _table_row(row: Row, columns: int) -> str:
    title = plain(row.title) if row.kind == "run" else f"*{plain(row.title)}*"
    if not row.message:
        return _row([title, plain(row.about), *map(_cell, row.cells)])
    message = "<br>".join([plain(row.message), *map(code, row.commands)])
    return _row([title, plain(row.about), message, *[""] * (columns - 1)])


def _cell(cell: Cell) -> str:
    parts = [f"**{plain(cell.value)}**" if cell.is_best else plain(cell.value)]
    if cell.deviation:
        parts.append(f"± {cell.deviation}" + ("<sup>e</sup>" if cell.of_evaluation else ""))
    return " ".join([*parts, *([f"({plain(cell.note)})"] if cell.note else [])])


def _notes(report: Report) -> Iterator[str]:
    yield from ["", "## Missing, and what to know", ""]
    if not report.missing:
        yield "No figure is missing."
    for what, note in report.missing:
        yield f"- **{plain(what)}**: {_note(note)}"
    yield from ["", "### Before believing a figure", ""]
    if not report.warnings:
        yield "There are no warnings."
    for note in report.warnings:
        yield f"- {_note(note)}"


def _note(note: Note) -> str:
    parts = note.text.split("`")
    text = "".join(code(part) if i % 2 else _inner(part) for i, part in enumerate(parts))
    return "<br>".join([f"{text} ({plain(note.models)})", *map(code, note.commands)])


def _inner(part: str) -> str:
    """A part of a text, with the space that is between it and the next."""
    before, after = (" " if part != stripped else "" for stripped in (part.lstrip(), part.rstrip()))
    return f"{before}{plain(part)}{after}"


def _curves(report: Report, output: pathlib.Path) -> Iterator[str]:
    yield from ["", "## Curves"] if report.plots else []
    for plots in report.plots:
        yield from ["", f"**{plain(plots.title)}**", ""]
        if plots.metrics:
            curves.save_png(plots, output / _PICTURES / f"{plots.name}.png")
            yield f"![{plain(plots.title)}]({_PICTURES}/{plots.name}.png)"
        if plots.constant:
            values = ", ".join(f"{name} = {number(v)}" for name, v in plots.constant.items())
            yield from ["", f"Constant, not drawn: {plain(values)}."]


def _pictures(report: Report, output: pathlib.Path) -> Iterator[str]:
    yield from ["", "## Pictures"] if report.panels else []
    for panel in report.panels:
        title, about = pictures.KINDS[panel.kind]
        where = f"{panel.group.data}, {panel.group.split} split"
        yield from ["", f"**{title}**, {plain(where)}: {about}"]
        for shown in panel.shown:
            path = pictures.copy(shown, panel, output / _PICTURES)
            name = f"{plain(shown.model.name)}, seed {shown.run.seed}"
            yield from ["", f"{name}:", "", f"![{title}, {name}]({_PICTURES}/{path.name})"]


def _configs(report: Report) -> Iterator[str]:
    names = [plain(model.name) for model in report.models]
    yield from ["", "## Configs"]
    if report.configs.differing:
        yield from ["", _row(["key", *names]), "|---|" + "---|" * len(names)]
        for key, values in report.configs.differing.items():
            yield _row([code(key), *(code(v) if v else "no such key" for v in values)])
    yield from ["", "<details><summary>The rest of the config</summary>", ""]
    yield from ["| key | value |", "|---|---|"]
    yield from (_row([code(key), code(value)]) for key, value in report.configs.common.items())
    yield from ["", "</details>", "", "<details><summary>Runs</summary>", ""]
    heads, rows = runs_table(report.models)
    yield from [_row(heads), "|" + "---|" * len(heads)]
    yield from (_row([plain(value) for value in row]) for row in rows)
    yield from ["", "</details>"]
