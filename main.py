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
import math
import operator
import pathlib
import sys
from collections.abc import Callable, Mapping

import jax
import numpy as np
from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from data import datasets, kinds, photos, pipeline
from scam_jax import config as config_checks
from scam_jax import evaluate, pictures, processes, run_folder, sharding
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
_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "HOST:PORT of process 0, to be one of several where SLURM, Open MPI or a TPU do not say so.",
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "With --coordinator: how many.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "With --coordinator: which one, from 0.")
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


def train(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Trains `config`'s model in `workdir`, from its newest checkpoint if there is one."""
    stop = processes.StopRequest()
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

    people = [_picture(shown[i % len(shown)]) for i in range(PANEL_IMAGES + 1)]
    logging.info("training on %d images in %s", len(source), workdir)
    try:
        state = training.train(
            config,
            mesh=sharding.make_mesh(),
            batches_from=batches_from,
            checkpoints=checkpoints,
            writer_from=lambda step: Writer(workdir, step) if jax.process_index() == 0 else None,
            vgg=vgg,
            panel=draw_panel,
            stop_requested=stop.reached,
        )
    finally:
        checkpoints.close()
    if int(state.step) < config.train.num_steps:
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
    devices = jax.device_count()
    batches = pipeline.eval_batches(
        source,
        # No figure depends on it, and there may be more devices than the run was trained on.
        batch_size=math.ceil(config.train.batch_size / devices) * devices,
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

    def draw():
        triplets = datasets.load_transfers(config.data, split)
        if triplets is not None:
            return evaluate.gallery(model, [triplets[i] for i in range(min(count, len(triplets)))])
        people = [(source[-1 - i % len(source)], source[i % len(source)]) for i in range(count)]
        return model.contact_sheet([(_picture(a), _picture(b)) for a, b in people])

    _write(workdir / "gallery.png", draw, enlarge=2 if config.data.height <= 64 else 1)


def _write(path: pathlib.Path, draw: Callable[[], np.ndarray], enlarge: int = 1) -> None:
    """Has one process draw and write a picture; all come here, with the model loaded."""
    if jax.process_index() == 0:
        pictures.save(path, draw(), enlarge)
        print(f"wrote {path}")
    sharding.wait_for_all("picture written")


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
    output = _place("--output", _OUTPUT.value)
    model = TrainedModel.load(workdir)

    def draw():
        target = _read(model, "target", _TARGET.value)
        if _MODE.value == "reconstruct":
            return model.reconstruct(*target)
        subject = _read(model, "subject", _SUBJECT.value)
        return model.transfer(*subject, *target, labels=_labels())

    _write(output, draw)


def _labels() -> list[int] | None:
    wrong = [label for label in _LABELS.value or [] if not label.strip().isdigit()]
    if wrong:
        raise app.UsageError(f"--labels: {wrong[0]!r} is not a label number")
    return None if _LABELS.value is None else [int(label) for label in _LABELS.value]


def _place(name: str, value: str) -> pathlib.Path:
    if "://" in value:
        raise ValueError(
            f"{name}={value}: a place in a file system is needed; share a folder among the hosts, "
            "or mount the bucket, and give the path there"
        )
    return pathlib.Path(value)


def _workdir() -> pathlib.Path:
    if _WORKDIR.value:
        return _place("--workdir", _WORKDIR.value)
    if _CONFIG.value is None:
        raise app.UsageError("--workdir=RUN is needed, or --config=configs/NAME.py")
    file = config_flags.get_config_filename(flags.FLAGS["config"])
    return pathlib.Path("runs") / pathlib.Path(file).stem


def _dispatch() -> None:
    workdir = _workdir()
    processes.join(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    if _MODE.value == "train":
        if _CONFIG.value is None:
            raise app.UsageError("training needs --config=configs/NAME.py")
        for key in ("data.directory", "data.manual_dir", "losses.vgg19_weights"):
            _place(f"config.{key}", operator.attrgetter(key)(_CONFIG.value))
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
        processes.end_by_error()
    except Exception as error:
        if not jax.distributed.is_initialized():
            raise
        logging.error("%s", error, exc_info=error)
        processes.end_by_error()


def _is_worth_reading(record) -> bool:
    """Warnings of all, and what this project itself logs: Orbax and Grain log every detail."""
    root = pathlib.Path(__file__).parent
    ours = pathlib.Path(record.pathname).is_relative_to(root) and ".venv" not in record.pathname
    return ours or record.levelno >= python_logging.WARNING


if __name__ == "__main__":
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().addFilter(_is_worth_reading)
    app.run(main)
