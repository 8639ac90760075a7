"""Trains SCAM, evaluates it, and uses a trained model.

  python main.py --config=configs/synthetic.py                      train; again: go on
  python main.py --mode=eval --workdir=runs/synthetic               figures on the test split
  python main.py --mode=eval --workdir=runs/synthetic --split=validation       to choose by
  python main.py --mode=gallery --workdir=runs/synthetic            contact sheet
  python main.py --mode=reconstruct --workdir=RUN --target=IMAGE,LABELS --output=OUT.png
  python main.py --mode=transfer --workdir=RUN --subject=IMAGE,LABELS --target=IMAGE,LABELS \\
      --output=OUT.png [--labels=1,2]

Any value of the config: --config.train.batch_size=64.
"""

import json
import logging as python_logging
import os
import pathlib
import signal
import sys
from collections.abc import Mapping

import jax
import numpy as np
from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from data import datasets, kinds, photos, pipeline
from scam_jax import config as config_checks
from scam_jax import evaluate, pictures, run_folder, sharding
from scam_jax import train as training
from scam_jax.checkpoints import CheckpointError, Checkpoints
from scam_jax.models import vgg19
from scam_jax.transfer import Picture, TrainedModel
from scam_jax.writer import Writer

_CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment, a file of configs/.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "The run's folder; runs/NAME for --config=configs/NAME.py by default."
)
_MODE = flags.DEFINE_enum(
    "mode", "train", ["train", "eval", "gallery", "reconstruct", "transfer"], "What to do."
)
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "Be one process of several: on every host of a pod or cluster."
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "With --distributed: HOST:PORT of process 0; pods and SLURM know it."
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "With --coordinator: how many.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "With --coordinator: which one this is.")
_SUBJECT = flags.DEFINE_list("subject", None, "The subject's image and label map: IMAGE,LABELS.")
_TARGET = flags.DEFINE_list("target", None, "The target's (or only) image and label map.")
_LABELS = flags.DEFINE_list(
    "labels", None, "Labels taken from the subject; all but the background by default."
)
_OUTPUT = flags.DEFINE_string("output", None, "The picture to write.")
_SPLIT = flags.DEFINE_enum(
    "split", "test", ["validation", "test"], "What is evaluated, and drawn in the gallery."
)
_COUNT = flags.DEFINE_integer("count", 12, "Pairs in the gallery.", lower_bound=1)

PANEL_IMAGES = 6


class StopRequest:
    """Notes the first Ctrl-C or SIGTERM, so that the loop can save; the second one kills."""

    def __init__(self):
        self.signal = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, number, frame):
        self.signal = number
        signal.signal(number, signal.SIG_DFL)
        logging.warning("%s: saving and stopping", signal.Signals(number).name)


def train(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Trains `config`'s model in `workdir`, from its newest checkpoint if there is one."""
    stop = StopRequest()
    run_folder.check_same_run(config, workdir)
    vgg = None
    if max(config.losses.perceptual.start, config.losses.perceptual.end) > 0:
        vgg = vgg19.load(pathlib.Path(config.losses.vgg19_weights))
    _prepare(config, workdir)
    source, augment = datasets.load_for_training(config.data, _skipped(workdir))
    if jax.process_index() == 0:
        run_folder.record(config, workdir, len(source))
    # The test split is for the figures alone: not even a panel shows it.
    shown = datasets.load(config.data, "validation", _skipped(workdir))
    shown = shown if len(shown) else datasets.load(config.data, "train", _skipped(workdir))
    checkpoints = Checkpoints(workdir / run_folder.CHECKPOINTS, config.train.keep_checkpoints)

    def batches_from(step):
        return pipeline.train_batches(
            source,
            batch_size=config.train.batch_size,
            seed=config.seed,
            augment=augment,
            start_step=step,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            num_workers=config.data.num_workers,
        )

    def draw_panel(state):
        model = TrainedModel(config, jax.device_get(state.eval_variables()))
        return evaluate.panel(model, people)

    def stop_requested(step):
        if jax.process_count() > 1:
            return checkpoints.reached_preemption(step)
        return stop.signal is not None

    people = [_picture(shown[i % len(shown)]) for i in range(PANEL_IMAGES + 1)]
    logging.info("training on %d images in %s", len(source), workdir)
    try:
        training.train(
            config,
            mesh=sharding.make_mesh(),
            batches_from=batches_from,
            checkpoints=checkpoints,
            writer_from=lambda step: Writer(workdir, step) if jax.process_index() == 0 else None,
            vgg=vgg,
            panel=draw_panel,
            stop_requested=stop_requested,
        )
    finally:
        checkpoints.close()
    if stop.signal is not None:
        sys.exit(128 + stop.signal)


def _prepare(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Has one process prepare the data set, and find its bad files where a run goes without."""
    if jax.process_index() == 0:
        datasets.prepare(config.data)
        if config.data.skip_bad_files and not run_folder.is_begun(workdir):
            run_folder.record_skipped(datasets.find_bad_files(config.data), workdir)
    sharding.wait_for_all("data set prepared")


def _skipped(workdir: pathlib.Path) -> dict[str, dict[str, str]]:
    """The files that the run does without; says how many."""
    skipped = run_folder.load_skipped(workdir) or {}
    for split, bad in skipped.items():
        logging.warning(
            "without %d pairs of %s, listed in %s; the first: %s",
            len(bad),
            split,
            workdir / run_folder.SKIPPED_FILE,
            next(iter(bad.values())),
        )
    return skipped


def _load_split(config: ConfigDict, workdir: pathlib.Path, split: str):
    _prepare(config, workdir)
    source = datasets.load(config.data, split, _skipped(workdir))
    if not len(source):
        raise ValueError(
            f"the {split} split is empty: {config.data.name} has too few training examples to hold "
            "some out, or the run was trained on all of them (config.data.train_split = "
            f"{config.data.train_split!r})"
        )
    return source


def evaluate_run(config: ConfigDict, workdir: pathlib.Path, split: str) -> None:
    """Prints the figures of a run on a split; writes figures_SPLIT.json and figures_SPLIT.md."""
    source = _load_split(config, workdir, split)
    model = TrainedModel.load(workdir)
    batches = pipeline.eval_batches(
        source,
        batch_size=config.train.batch_size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        num_workers=config.data.num_workers,
    )
    figures = evaluate.evaluate_reconstruction(model, sharding.make_mesh(), batches)
    triplets = datasets.load_transfers(config.data, split)
    transfers = {} if triplets is None else evaluate.evaluate_transfer(model, triplets)
    if jax.process_index() == 0:
        table = evaluate.table(figures, transfers)
        (workdir / f"figures_{split}.md").write_text(table)
        results = {**figures, "transfer": transfers}
        (workdir / f"figures_{split}.json").write_text(json.dumps(results, indent=2) + "\n")
        print(f"On the {split} split of {config.data.name}:\n\n{table}")


def draw_gallery(config: ConfigDict, workdir: pathlib.Path, split: str, count: int) -> None:
    """Writes gallery.png: pairs of a split, with the truth of the transfer if known."""
    source = _load_split(config, workdir, split)
    model = TrainedModel.load(workdir)
    triplets = datasets.load_transfers(config.data, split)
    if triplets is not None:
        count = min(count, len(triplets))
        picture = evaluate.gallery(model, [triplets[i] for i in range(count)])
    else:
        people = [(source[-1 - i % len(source)], source[i % len(source)]) for i in range(count)]
        picture = model.contact_sheet([(_picture(a), _picture(b)) for a, b in people])
    _write(workdir / "gallery.png", picture, enlarge=2 if config.data.height <= 64 else 1)


def _write(path: pathlib.Path, picture: np.ndarray, enlarge: int = 1) -> None:
    pictures.save(path, picture, enlarge)
    print(f"wrote {path}")


def _picture(example: Mapping[str, np.ndarray]) -> Picture:
    return Picture(example["image"], example["label"])


def _read(model: TrainedModel, flag: str, value: list[str] | None) -> Picture:
    if not value or len(value) != 2:
        raise app.UsageError(f"--{flag}=IMAGE,LABELS is needed: a photo and its label map")
    data = model.config.data
    image, labels = photos.read_pair(*map(pathlib.Path, value), kinds.label_map(data))
    return _picture(datasets.for_evaluation(data)({"image": image, "label": labels}))


def use_model(workdir: pathlib.Path) -> None:
    """Reconstructs, or transfers, the pictures of the command line into --output."""
    if not _OUTPUT.value:
        raise app.UsageError("--output=OUT.png is needed: where to write the picture")
    model = TrainedModel.load(workdir)
    target = _read(model, "target", _TARGET.value)
    if _MODE.value == "reconstruct":
        picture = model.reconstruct(*target)
    else:
        subject = _read(model, "subject", _SUBJECT.value)
        picture = model.transfer(*subject, *target, labels=_labels())
    _write(pathlib.Path(_OUTPUT.value), picture)


def _labels() -> list[int] | None:
    wrong = [label for label in _LABELS.value or [] if not label.strip().isdigit()]
    if wrong:
        raise app.UsageError(f"--labels: {wrong[0]!r} is not a label number")
    return None if _LABELS.value is None else [int(label) for label in _LABELS.value]


def _workdir() -> pathlib.Path:
    if _WORKDIR.value:
        return pathlib.Path(_WORKDIR.value)
    if _CONFIG.value is None:
        raise app.UsageError("--workdir=RUN is needed, or --config=configs/NAME.py")
    file = config_flags.get_config_filename(flags.FLAGS["config"])
    return pathlib.Path("runs") / pathlib.Path(file).stem


def _dispatch() -> None:
    if _DISTRIBUTED.value:
        jax.distributed.initialize(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    workdir = _workdir()
    if _MODE.value == "train":
        if _CONFIG.value is None:
            raise app.UsageError("training needs --config=configs/NAME.py")
        config_checks.validate(_CONFIG.value, jax.device_count())
        train(_CONFIG.value, workdir)
    elif _MODE.value == "eval":
        evaluate_run(run_folder.load_config(workdir), workdir, _SPLIT.value)
    elif _MODE.value == "gallery":
        draw_gallery(run_folder.load_config(workdir), workdir, _SPLIT.value, _COUNT.value)
    else:
        use_model(workdir)


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unknown argument {argv[1]!r}")
    try:
        _dispatch()
    except (ValueError, OSError, CheckpointError, training.TrainingDiverged) as error:
        logging.error("%s", error)
        logging.debug("where it happened", exc_info=error)
        if _DISTRIBUTED.value:
            # Python's exit would first wait minutes for the other processes, which cannot go on.
            sys.stderr.flush()
            os._exit(1)
        sys.exit(1)


def _is_worth_reading(record) -> bool:
    """Warnings of all, and what this project itself logs: Orbax and Grain log every detail."""
    root = pathlib.Path(__file__).parent
    ours = pathlib.Path(record.pathname).is_relative_to(root) and ".venv" not in record.pathname
    return ours or record.levelno >= python_logging.WARNING


if __name__ == "__main__":
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().addFilter(_is_worth_reading)
    app.run(main)
