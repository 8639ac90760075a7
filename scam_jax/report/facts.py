"""Facts about runs: conditions of training, missing metrics, warnings, configs."""

import collections
import json
import shlex
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from scam_jax.report.document import Cell, Note, Table
from scam_jax.report.runs import SPLITS, Model, Run, differing
from scam_jax.report.tables import Group
from scam_jax.runs import goodput
from scam_jax.training.ledger import duration


def facts_of(models: Sequence[Model]) -> dict[str, dict[str, str]]:
    """Returns what was compared and with which software and hardware.

    By title, each value has the names of the runs that share it: 'scam, one_latent (seed 1)'.
    """
    pairs = [(model, run) for model in models for run in model.runs]
    packages = dict.fromkeys(p for _, run in pairs for s in run.starts for p in s["versions"])
    found: dict[str, list[tuple[str, Run]]] = collections.defaultdict(list)
    for model, run in pairs:
        starts, planned, last = run.starts, run.config["train.num_steps"], run.last_step
        values = {
            "data": [f"{model.data}, {run.config['data.num_labels']} labels"],
            "training images": [str(start["training_examples"] or "unknown") for start in starts],
            "evaluated": [", ".join(_evaluations(run)) or "not at all"],
            "steps": [f"{planned:,}" if last >= planned else f"{last:,} of {planned:,}"],
            "batch": [f"{run.config['train.batch_size']} images"],
            "commit": [start["commit"] or "unknown" for start in starts],
            "devices": [_devices(start) for start in starts],
            "time": [_time(run)],
            "Python": [start["python"] for start in starts],
        }
        values |= {p: [start["versions"].get(p, "none") for start in starts] for p in packages}
        for title, some in values.items():
            found[title] += [(value, run) for value in some or ["not recorded"]]
    facts = {title: _names_by(some, models) for title, some in found.items()}
    agreed = [package for package in packages if len(facts[package]) == 1]
    same = ", ".join(f"{package} {next(iter(facts.pop(package)))}" for package in agreed)
    count = f"{len(pairs)} runs of {len(models)} models" if len(pairs) > 1 else "one run"
    compared = f"{count}: {', '.join(model.name for model in models)}"
    return {"compared": {compared: ""}, **facts, **({"packages": {same: ""}} if same else {})}


def _time(run: Run) -> str:
    """Returns how long a run took, and which share of it went to steps that count."""
    found = goodput.of_starts(run.starts)
    if found is None:
        return "not recorded"
    other = {**found.parts, "repeated steps": found.repeated, "away": found.away}
    shown = [
        f"{name} {seconds / found.life:.0%}"
        for name, seconds in sorted(other.items(), key=lambda item: -item[1])
        if seconds / found.life >= 0.005
    ]
    return f"{duration(found.life)}, goodput {found.share:.0%} ({', '.join(shown) or 'no more'})"


def _evaluations(run: Run) -> Iterable[str]:
    for split, evaluation in run.evaluations.items():
        seeds = max((len(figure.values) for figure in evaluation.figures), default=0)
        yield f"{split} ({evaluation.count:,} images, evaluation seeds: {seeds})"


def _devices(start: Mapping[str, Any]) -> str:
    counts = collections.Counter(start["devices"])
    devices = ", ".join(f"{count} × {name}" for name, count in counts.items())
    return devices + (f" in {start['processes']} processes" if start["processes"] > 1 else "")


def _names_by(pairs: Iterable[tuple[Hashable, Run]], models: Sequence[Model]) -> dict[Any, str]:
    """Returns, for each first element, the names of the runs that it is paired with.

    A model is named once if all its runs are there, else with their seeds.
    """
    folders = collections.defaultdict(set)
    for thing, run in pairs:
        folders[thing].add(run.folder)
    names = collections.defaultdict(list)
    for thing, some in folders.items():
        for model in models:
            seeds = [str(run.seed) for run in model.runs if run.folder in some]
            if len(seeds) == len(model.runs):
                names[thing].append(model.name)
            elif seeds:
                plural = "s" if len(seeds) > 1 else ""
                names[thing].append(f"{model.name} (seed{plural} {', '.join(seeds)})")
    return {thing: ", ".join(some) for thing, some in names.items()}


def missing_of(groups: Sequence[Group], models: Sequence[Model]) -> list[Note]:
    """Returns which metrics are missing, why, and how to get them."""
    runs = [run for model in models for run in model.runs]
    evaluations = [(evaluation, run) for run in runs for evaluation in run.evaluations.values()]
    found = [((m.reason, m.metric, m.protocol), run) for e, run in evaluations for m in e.missing]
    metrics = collections.defaultdict(list)
    for (reason, metric, protocol), names in _names_by(found, models).items():
        metrics[reason, names].append(f"{metric} ({protocol})")
    notes = [Note(reason, ", ".join(m), names) for (reason, names), m in metrics.items()]
    for group in groups:
        title = f"every metric of the {group.split} split"
        runs = [run for m in group.models for run in m.runs if group.split not in run.evaluations]
        flag = f" --split={group.split}" if group.split != SPLITS[0] else ""
        commands = [
            f"python main.py --mode=eval --workdir={shlex.quote(str(run.folder))}{flag}"
            for run in runs
        ]
        for text, names in _names_by([("not evaluated", run) for run in runs], models).items():
            notes.append(Note(text, title, names, commands))
    return notes


def warnings_of(groups: Sequence[Group], models: Sequence[Model]) -> list[Note]:
    """Returns warnings of evaluations and of runs."""
    found = [(text, run) for m in models for run in m.runs for text in _run_warnings(run)]
    for group in groups:
        if len(group.counts) > 1:
            counts = " and ".join(map(str, sorted(group.counts)))
            text = f"{group.split} split of {group.data}: one table has metrics of {counts} images"
            found += [(text, run) for run in group.evaluated]
    for model in models:
        same = [m for m in models if not differing([m.config, model.config])]
        names = " and ".join(m.name for m in same)
        text = f"{names} have the same config and seeds: the config does not tell how they differ"
        found += [(text, run) for run in model.runs if len(same) > 1]
    return [Note(text, names=names) for text, names in _names_by(found, models).items()]


def _run_warnings(run: Run) -> Iterable[str]:
    planned = run.config["train.num_steps"]
    for split, evaluation in run.evaluations.items():
        yield from (f"{split}: {warning}" for warning in evaluation.warnings)
        if evaluation.step != planned:
            yield f"{split}: evaluated at step {evaluation.step:,} of {planned:,}"
    commits = {str(start["commit"]) for start in run.starts}
    if any(commit.endswith("-dirty") for commit in commits):
        yield "the code had uncommitted changes: the commit alone does not reproduce the run"
    if len(commits) > 1:
        yield "the run was resumed with another commit"
    if not run.starts:
        yield "runs.jsonl is missing or empty: commit, versions and devices are unknown"
    if not run.curves:
        yield "metrics.jsonl is missing or empty: there are no curves"


def config_tables(models: Sequence[Model]) -> list[Table]:
    """Returns tables of config values, of their changes during training, and of run folders."""
    config = models[0].config
    different = differing([model.config for model in models])
    rows = [[key, *(text or "no such key" for text in texts)] for key, texts in different.items()]
    keys = sorted({*config} - {*different})
    shared = [[key, json.dumps(config[key], ensure_ascii=False)] for key in keys]
    title = "What all models share" if len(models) > 1 else "The config"
    runs = [
        [run.name, str(run.seed), str(run.folder), f"{run.last_step:,}", str(len(run.starts))]
        for model in models
        for run in model.runs
    ]
    changes = [
        [run.name, str(run.seed), f"{start['step']:,}", key, *map(str, change)]
        for model in models
        for run in model.runs
        for start in run.starts
        for key, change in start["changes"].items()
    ]
    heads = ["model", "seed", "from step", "key", "before", "after"]
    names = [model.name for model in models]
    tables = [
        _table("Where the models differ", ["key", *names], rows, "code"),
        _table(f"{title}: {len(shared)} values", ["key", "value"], shared, "code", True),
        _table("Changes during training", heads, changes, "code"),
        _table("Runs", ["model", "seed", "folder", "last step", "starts"], runs, is_folded=True),
    ]
    return [table for table in tables if table.rows]


def _table(title: str, heads: list[str], rows: list[list[str]], style="", is_folded=False) -> Table:
    cells = [[Cell(text, style=style) for text in row] for row in rows]
    return Table(title, [Cell(head) for head in heads], cells, is_folded=is_folded)
