"""Folders of runs for reports to read, and readers of what they write."""

import html.parser
import json
import re

import numpy as np

from helpers import small
from scam_jax import images, report
from scam_jax.evaluation.results import AUTHORS, OURS, Evaluation, Figure

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def write_run(folder, *, metrics=(), commit=COMMIT, jax="0.10.2", changes=None, **overrides):
    """A run's folder as main.py leaves it after training."""
    folder.mkdir(parents=True)
    config = small.config(**overrides)
    (folder / "config.json").write_text(json.dumps(config.to_dict(), indent=2))
    start = {
        "step": 0,
        "changes": {},
        "training_examples": 100,
        "commit": commit,
        "python": "3.11.7",
        "versions": {"jax": jax},
        "devices": ["cpu"],
        "processes": 1,
    }
    resumed = [{**start, "step": step, "changes": c} for step, c in (changes or {}).items()]
    lines = [json.dumps(entry) + "\n" for entry in [start, *resumed]]
    (folder / "runs.jsonl").write_text("".join(lines))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(m) + "\n" for m in metrics))
    return folder


def evaluate(run, *figures, split="test", missing=(), warnings=(), step=4, count=16, names=()):
    """An evaluation's folder, with its pictures."""
    folder = run / f"evaluation_{split}"
    Evaluation(step, "folder", split, count, figures, missing, warnings, names).save(folder)
    for name in ("reconstruction", "attention_generator"):
        images.save(folder / f"{name}.png", np.full((8, 12, 3), 100, np.uint8))
    return run


def psnr(*values, protocol=OURS, part="", metric="PSNR"):
    return Figure(metric, protocol, values, "dB", True, part, 2.0, 16)


def fid(*values, protocol=AUTHORS, metric="R-FID"):
    return Figure(metric, protocol, values, "", False, count=16)


def written(folders, output, published=None):
    """report.md and report.html."""
    page = report.write(folders, output, published)
    return (output / "report.md").read_text(), page.read_text()


def rows(markdown, title):
    """Cells of the table under a title, by the first one, without the head."""
    table = markdown.split(f"**{title}", 1)[1].split("\n\n")[1]
    cells = [re.split(r"(?<!\\) \| ", line.strip("| ")) for line in table.splitlines()]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in [cells[0], *cells[2:]]}


class Page(html.parser.HTMLParser):
    """Tags, what they load or link to, and the text of cells."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.targets, self.cells, self.text, self.in_cell = [], [], [], "", False
        self.feed(page)
        self.targets += re.findall(r"url\(\s*['\"]?([^)]*)", page)
        self.targets += re.findall(r"@import\s*(\S+)", page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        links = ("src", "href", "xlink:href", "srcset", "action", "data", "poster")
        self.targets += [value for name, value in attrs if name in links]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag in ("td", "th"):
            self.in_cell = True
            self.cells.append("")

    def handle_endtag(self, tag):
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data):
        self.text += data
        if self.in_cell:
            self.cells[-1] += data
