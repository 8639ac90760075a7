"""What a report says besides figures: what was run, on what, what differs, is missing or unsure."""

import json
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from scam_jax.report.figure_tables import Group, evaluate_command
from scam_jax.report.runs import Model, Run, differing_keys
from scam_jax.report.tables import short_list

_DIRTY = "-dirty"


class Fact(NamedTuple):
    """A line of the head.

    Attributes:
      title: of what.
      value: what it is, where all runs agree on it.
      variants: else, each value with the runs that have it: 'scam (0–2)'.
    """

    title: str
    value: str
    variants: Sequence[tuple[str, str]] = ()


class Note(NamedTuple):
    """Something to know, with the models that it is about and the commands that mend it."""

    text: str
    models: str
    commands: Sequence[str] = ()


def facts_of(models: Sequence[Model]) -> list[Fact]:
    """What was compared, and what it ran with; where runs differ, which has what."""
    runs = [run for model in models for run in model.runs]
    count = f"{len(runs)} runs of {len(models)} models" if len(runs) > 1 else "one run"
    facts = [
        Fact("compared", f"{count}: " + ", ".join(model.name for model in models)),
        _fact("data", models, lambda run: [f"{run.data}, {run.config['data.num_labels']} labels"]),
        _fact("training images", models, _training_images),
        _fact("evaluated", models, _evaluated),
        _fact("training seeds", models, lambda run: [short_list(_seeds_beside(run, models))]),
        _fact("steps", models, _steps),
        _fact("batch", models, lambda run: [f"{run.config['train.batch_size']} images"]),
        _fact("commit", models, lambda run: [s["commit"] or "not known" for s in run.starts]),
        _fact("devices", models, lambda run: [_devices(start) for start in run.starts]),
        _fact("Python", models, lambda run: [start["python"] for start in run.starts]),
    ]
    packages = dict.fromkeys(
        name for run in runs for start in run.starts for name in start["versions"]
    )
    versions = [_fact(name, models, _version(name)) for name in packages]
    same = ", ".join(f"{fact.title} {fact.value}" for fact in versions if not fact.variants)
    facts += [Fact("packages", same)] if same else []
    return facts + [fact for fact in versions if fact.variants]


def _seeds_beside(run: Run, models: Sequence[Model]) -> list[int]:
    return next(model.seeds for model in models if run in model.runs)


def _training_images(run: Run) -> list[str]:
    counts = (start["training_examples"] for start in run.starts)
    return ["not known" if count is None else f"{count:,}" for count in counts]


def _evaluated(run: Run) -> list[str]:
    splits = [
        f"{split} ({evaluation.count:,} images, {_evaluation_seeds(run, split)})"
        for split, evaluation in run.evaluations.items()
    ]
    return [", ".join(splits) or "not at all"]


def _evaluation_seeds(run: Run, split: str) -> str:
    count = max((len(f.values) for f in run.evaluations[split].figures), default=0)
    return "one evaluation seed" if count == 1 else f"{count} evaluation seeds"


def _steps(run: Run) -> list[str]:
    planned = run.config["train.num_steps"]
    reached = run.last_step
    return [
        f"{planned:,}" if reached >= planned else f"{planned:,}, of which {reached:,} are logged"
    ]


def _devices(start: Mapping[str, Any]) -> str:
    names = start["devices"]
    devices = [f"{names.count(name)} × {name}" for name in dict.fromkeys(names)]
    processes = start["processes"]
    return ", ".join(devices) + (f" in {processes} processes" if processes > 1 else "")


def _version(package: str) -> Callable[[Run], list[str]]:
    return lambda run: [start["versions"].get(package, "none") for start in run.starts]


def _fact(title: str, models: Sequence[Model], values: Callable[[Run], Iterable[str]]) -> Fact:
    runs = [(model, run) for model in models for run in model.runs]
    having: dict[str, list[tuple[Model, Run]]] = {}
    for model, run in runs:
        for value in dict.fromkeys(values(run)) or ("not recorded",):
            having.setdefault(value, []).append((model, run))
    if len(having) == 1 and len(*having.values()) == len(runs):
        return Fact(title, *having)
    return Fact(title, "", [(value, _names(some, models)) for value, some in having.items()])


def _names(some: Sequence[tuple[Model, Run]], models: Sequence[Model]) -> str:
    """'scam, one_latent (seed 1)': models whole, or the seeds of their runs."""
    names = []
    for model in models:
        seeds = [run.seed for m, run in some if m is model]
        if len(seeds) == len(model.runs):
            names.append(model.name)
        elif seeds:
            names.append(f"{model.name} ({_seeds(seeds)})")
    return (
        "all models" if names == [m.name for m in models] and len(models) > 1 else ", ".join(names)
    )


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {short_list(seeds)}"


def _collected(
    pairs: Iterable[tuple[Hashable, Model, Run]], models: Sequence[Model]
) -> dict[Any, str]:
    """Each thing once, with the names of all runs that it is about."""
    about: dict[Hashable, list[tuple[Model, Run]]] = {}
    for thing, model, run in pairs:
        runs = about.setdefault(thing, [])
        if (model, run) not in runs:
            runs.append((model, run))
    return {thing: _names(runs, models) for thing, runs in about.items()}


def missing_of(groups: Sequence[Group], models: Sequence[Model]) -> list[tuple[str, Note]]:
    """What could not be computed: the metrics, and why; those of one reason together."""
    found = [
        ((m.reason, m.metric, m.protocol), model, run)
        for model in models
        for run in model.runs
        for evaluation in run.evaluations.values()
        for m in evaluation.missing
    ]
    by_reason: dict[tuple[str, str], list[str]] = {}
    for (reason, metric, protocol), names in _collected(found, models).items():
        by_reason.setdefault((reason, names), []).append(f"{metric} ({protocol})")
    missing = [(", ".join(m), Note(*about)) for about, m in by_reason.items()]
    return missing + [
        (f"every figure of the {group.split} split", _not_evaluated(model, group.split))
        for group in groups
        for _, model in group.models
        if len(model.evaluated(group.split)) < len(model.runs)
    ]


def _not_evaluated(model: Model, split: str) -> Note:
    runs = [run for run in model.runs if split not in run.evaluations]
    commands = [evaluate_command(run, split) for run in runs]
    name = model.name if len(runs) == len(model.runs) else f"{model.name} ({_seeds_of(runs)})"
    return Note("not evaluated", name, commands)


def _seeds_of(runs: Sequence[Run]) -> str:
    return _seeds([run.seed for run in runs])


def warnings_of(groups: Sequence[Group], models: Sequence[Model]) -> list[Note]:
    """What to know before believing a figure: the evaluations' own warnings, and the runs'."""
    found: list[tuple[str, Model, Run]] = []
    for model in models:
        for run in model.runs:
            found += [(text, model, run) for text in _run_warnings(run)]
    for group in groups:
        found += _uneven(group)
    notes = [Note(*item) for item in _collected(found, models).items()]
    return notes + _same_configs(models)


def _run_warnings(run: Run) -> list[str]:
    texts = []
    planned = run.config["train.num_steps"]
    for split, evaluation in run.evaluations.items():
        texts += [f"{split}: {warning}" for warning in evaluation.warnings]
        if evaluation.step != planned:
            texts.append(
                f"{split}: the figures are of step {evaluation.step:,}, but the training is of "
                f"{planned:,} steps"
            )
    if any(str(start["commit"]).endswith(_DIRTY) for start in run.starts):
        texts.append("the code had changes that are in no commit: the commit alone is not this run")
    if len({start["commit"] for start in run.starts}) > 1:
        texts.append("the run was begun and went on with different commits")
    if not run.starts:
        texts.append("there is no runs.jsonl: commit, versions and devices are not known")
    if not run.curves:
        texts.append("there is no metrics.jsonl, or nothing in it: there are no curves")
    return texts


def _uneven(group: Group) -> list[tuple[str, Model, Run]]:
    counts = {run.evaluations[group.split].count for _, run in group.evaluations()}
    if len(counts) < 2:
        return []
    return [
        (
            f"{group.split} split of {group.data}: figures in one table are of "
            f"{' and '.join(map(str, sorted(counts)))} images",
            model,
            run,
        )
        for (_, model), run in group.evaluations()
    ]


def _same_configs(models: Sequence[Model]) -> list[Note]:
    by_config: dict[str, list[str]] = {}
    for model in models:
        by_config.setdefault(model.runs[0].identity, []).append(model.name)
    text = "their configs and seeds are the same: what they differ in is not in the config"
    return [Note(text, ", ".join(names)) for names in by_config.values() if len(names) > 1]


class Configs(NamedTuple):
    """Configs side by side.

    Attributes:
      differing: by key, a value a model; '' where a config lacks the key.
      common: by key, the value of all.
    """

    differing: Mapping[str, Sequence[str]]
    common: Mapping[str, str]


def configs_of(models: Sequence[Model]) -> Configs:
    """Where the models' configs differ, and the rest; values as JSON."""
    configs = [model.config for model in models]
    differing = differing_keys(configs)
    rows = {
        key: [json.dumps(c[key], ensure_ascii=False) if key in c else "" for c in configs]
        for key in differing
    }
    common = {
        key: json.dumps(value, ensure_ascii=False)
        for key, value in sorted(configs[0].items())
        if key not in differing
    }
    return Configs(rows, common)


def runs_table(models: Sequence[Model]) -> tuple[list[str], list[list[str]]]:
    """Heads and a row a run: where it lies, how far it came, and what it ran with at last."""
    heads = ["model", "seed", "folder", "last step", "starts", "commit", "jax", "devices"]
    rows = []
    for model in models:
        for run in model.runs:
            row = [model.name, str(run.seed), str(run.folder), f"{run.last_step:,}"]
            row.append(str(len(run.starts)))
            for start in run.starts[-1:]:
                commit, jax = start["commit"] or "not known", start["versions"].get("jax", "none")
                row += [commit, jax, _devices(start)]
            rows.append(row + ["not recorded"] * (len(heads) - len(row)))
    return heads, rows
