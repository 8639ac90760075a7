"""Trains SCAM, evaluates it, and uses a trained model.

  python main.py --config=configs/synthetic.py                      train; again: go on
  python main.py --config=configs/synthetic.py:model=sean           a baseline
  python main.py --mode=eval --workdir=runs/synthetic               figures on the test split
  python main.py --mode=eval --workdir=runs/synthetic --split=validation       to choose by
  python main.py --mode=study --config=configs/synthetic_study.py   variants, seeds, a report
  python main.py --mode=gallery --workdir=runs/synthetic            contact sheet
  python main.py --mode=reconstruct --workdir=RUN --target=IMAGE,LABELS --output=OUT.png
  python main.py --mode=transfer --workdir=RUN --subject=IMAGE,LABELS --target=IMAGE,LABELS \\
      --output=OUT.png [--labels=1,2]
  python main.py --mode=attention --workdir=RUN --subject=IMAGE,LABELS --target=IMAGE,LABELS \\
      --output=OUT.png [--latent=LABEL,NUMBER]

Any value of the config: --config.train.batch_size=64.
"""

import logging as python_logging
import math
import pathlib
import sys
from collections.abc import Callable

import jax
import numpy as np
from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from data import datasets
from data.feed import Feed
from scam_jax import images, report
from scam_jax.devices import processes, sharding
from scam_jax.evaluation.data import EvaluationData, RealImages
from scam_jax.evaluation.evaluator import Evaluator
from scam_jax.evaluation.results import AUTHORS, FILE, OURS, Evaluation
from scam_jax.inference import panels
from scam_jax.inference.model import Picture, TrainedModel
from scam_jax.runs import run_folder, study, validation
from scam_jax.training import loop as training
from scam_jax.training.checkpoints import CheckpointError, Checkpoints
from scam_jax.training.writer import Writer
from scam_jax.weights import pretrained

_CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment, a file of configs/.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "The run's folder; runs/NAME for --config=configs/NAME.py by default."
)
_MODE = flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "eval", "study", "gallery", "reconstruct", "transfer", "attention"],
    "What to do.",
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
_LATENT = flags.DEFINE_list(
    "latent", None, "LABEL,NUMBER of the latent whose attention is drawn; by default of all."
)
_OUTPUT = flags.DEFINE_string("output", None, "The picture to write.")
_SPLIT = flags.DEFINE_enum(
    "split", "test", ["validation", "test"], "What is evaluated, and drawn in the gallery."
)
_COUNT = flags.DEFINE_integer("count", 12, "Pairs in the gallery.", lower_bound=1)

PANEL_IMAGES = 6
PAIRS_SHOWN = 6


def train(config: ConfigDict, workdir: pathlib.Path, stop: processes.StopRequest) -> None:
    """Trains `config`'s model in `workdir`, from its newest checkpoint if there is one."""
    run_folder.check_same_run(config, workdir)
    vgg = None
    if max(config.losses.perceptual.start, config.losses.perceptual.end) > 0:
        vgg = pretrained.load("vgg19", pathlib.Path(config.weights_directory)).params
    feed = _prepare(config, workdir)
    if jax.process_index() == 0:
        run_folder.record(config, workdir, feed.num_training_examples)
    checkpoints = Checkpoints(workdir / run_folder.CHECKPOINTS, config.train.keep_checkpoints)
    people = [Picture.of(example) for example in feed.examples_to_show(PANEL_IMAGES + 1)]

    def draw_panel(state):
        model = TrainedModel(config, jax.device_get(state.eval_variables()))
        return panels.panel(model, people)

    mesh = sharding.make_mesh()
    logging.info("training on %d images in %s", feed.num_training_examples, workdir)
    try:
        state = training.train(
            config,
            mesh=mesh,
            batches_from=feed.train_batches,
            checkpoints=checkpoints,
            writer_from=lambda step: Writer(workdir, step) if jax.process_index() == 0 else None,
            vgg=vgg,
            panel=draw_panel,
            evaluate=_evaluation_in_training(config, feed, mesh),
            stop_requested=stop.reached,
        )
    finally:
        checkpoints.close()
    if int(state.step) < config.train.num_steps:
        sys.exit(128 + stop.signal)


def _prepare(config: ConfigDict, workdir: pathlib.Path) -> Feed:
    """Has one process prepare the data set, and find its bad files where a run goes without."""
    if jax.process_index() == 0:
        datasets.prepare(config.data)
        if config.data.skip_bad_files and not run_folder.is_begun(workdir):
            run_folder.record_skipped(datasets.find_bad_files(config.data), workdir)
    sharding.wait_for_all("data set prepared")
    return Feed(
        config.data,
        seed=config.seed,
        batch_size=config.train.batch_size,
        skipped=run_folder.load_skipped(workdir),
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def _evaluator(config: ConfigDict, feed: Feed, mesh: jax.sharding.Mesh, split: str) -> Evaluator:
    def real(augmented):
        found = datasets.load_real(config.data, augmented=augmented, skipped=feed.skipped)
        return RealImages(*found)

    # No figure depends on it, and there may be more devices than the run was trained on.
    batch_size = math.ceil(config.train.batch_size / mesh.size) * mesh.size
    data = EvaluationData(
        name=config.data.name,
        split=split,
        source=feed.split(split),
        label_names=datasets.label_names(config.data),
        real={AUTHORS: real(augmented=True), OURS: real(augmented=False)},
        transfers=feed.transfers(split),
        batches=lambda source: feed.eval_batches(source, batch_size),
    )
    return Evaluator(
        config,
        mesh,
        data,
        weights=pathlib.Path(config.weights_directory),
        statistics=pathlib.Path(config.eval.statistics_directory),
    )


def _evaluation_in_training(config: ConfigDict, feed: Feed, mesh: jax.sharding.Mesh):
    """A state to its figures on the validation split; None if there is nothing to evaluate on."""
    if not config.eval.every:
        return None
    if feed.validation() is None:
        logging.warning("no evaluation in training: %s has no validation split", config.data.name)
        return None
    evaluator = _evaluator(config, feed, mesh, "validation")
    return lambda state: evaluator.evaluate(state.eval_variables(), int(state.step)).scalars()


def evaluate_run(config: ConfigDict, workdir: pathlib.Path, split: str) -> None:
    """Writes evaluation_SPLIT/: a run's figures on a split, and pictures; prints the figures."""
    feed = _prepare(config, workdir)
    model = TrainedModel.load(workdir)
    evaluator = _evaluator(config, feed, sharding.make_mesh(), split)
    evaluation = evaluator.evaluate(model.variables, model.step, config.eval.num_seeds)
    if jax.process_index() == 0:
        folder = run_folder.evaluation(workdir, split)
        pairs = panels.pairs_of(feed.split(split), PAIRS_SHOWN)
        for name, picture in panels.of_evaluation(model, pairs).items():
            images.save(folder / f"{name}.png", picture)
        evaluation.save(folder)
        print(f"On the {split} split of {config.data.name}:\n\n{evaluation.markdown()}")
    sharding.wait_for_all("evaluation written")


def run_study(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Trains and evaluates every variant with every seed; then writes the report of all.

    What is done already is not done again.
    """
    stop = processes.StopRequest()
    for name, variant in study.runs_of(config, jax.device_count()).items():
        folder = workdir / name
        logging.info("study: %s", folder)
        train(variant, folder, stop)
        if not _is_evaluated(run_folder.evaluation(folder, "test"), variant.train.num_steps):
            evaluate_run(variant, folder, "test")
    if jax.process_index() == 0:
        print(f"wrote {report.write([workdir], workdir / 'report')}")


def _is_evaluated(folder: pathlib.Path, step: int) -> bool:
    """Whether the figures there are of `step`: a study may go on for more steps than it had."""
    return (folder / FILE).is_file() and Evaluation.load(folder).step == step


def draw_gallery(config: ConfigDict, workdir: pathlib.Path, split: str, count: int) -> None:
    """Writes gallery.png: pairs of a split, with the truth of the transfer if known."""
    feed = _prepare(config, workdir)
    model = TrainedModel.load(workdir)

    def draw():
        triplets = feed.transfers(split)
        if triplets is not None:
            return panels.gallery(model, [triplets[i] for i in range(min(count, len(triplets)))])
        return model.contact_sheet(panels.pairs_of(feed.split(split), count))

    _write(workdir / "gallery.png", draw, enlarge=2 if config.data.height <= 64 else 1)


def _write(path: pathlib.Path, draw: Callable[[], np.ndarray], enlarge: int = 1) -> None:
    """Has one process draw and write a picture; all come here, with the model loaded."""
    if jax.process_index() == 0:
        images.save(path, draw(), enlarge)
        print(f"wrote {path}")
    sharding.wait_for_all("picture written")


def use_model(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Reconstructs, transfers, or draws attention, of the pictures given, into --output."""
    if not _OUTPUT.value:
        raise app.UsageError("--output=OUT.png is needed: where to write the picture")
    output = run_folder.place("--output", _OUTPUT.value)
    feed = Feed(config.data, config.seed, config.train.batch_size, {})
    model = TrainedModel.load(workdir)

    def read(flag, value):
        if not value or len(value) != 2:
            raise app.UsageError(f"--{flag}=IMAGE,LABELS is needed: a photo and its label map")
        return Picture.of(feed.read_pair(*value))

    def draw():
        target = read("target", _TARGET.value)
        if _MODE.value == "reconstruct":
            return model.reconstruct(*target)
        subject = read("subject", _SUBJECT.value)
        if _MODE.value == "transfer":
            return model.transfer(*subject, *target, labels=_numbers("labels", _LABELS.value))
        latent = _numbers("latent", _LATENT.value)
        if latent is not None and len(latent) != 2:
            raise app.UsageError("--latent=LABEL,NUMBER: two numbers are needed")
        return panels.attention(model, subject, target, latent)

    _write(output, draw)


def _numbers(flag: str, values: list[str] | None) -> list[int] | None:
    wrong = [value for value in values or [] if not value.strip().isdigit()]
    if wrong:
        raise app.UsageError(f"--{flag}: {wrong[0]!r} is not a number")
    return None if values is None else [int(value) for value in values]


def _workdir() -> pathlib.Path:
    if _WORKDIR.value:
        return run_folder.place("--workdir", _WORKDIR.value)
    if _CONFIG.value is None:
        raise app.UsageError("--workdir=RUN is needed, or --config=configs/NAME.py")
    return run_folder.default(config_flags.get_config_filename(flags.FLAGS["config"]))


def _config(workdir: pathlib.Path) -> ConfigDict:
    """The config given, checked; or that of the run, to use a trained model."""
    trains = _MODE.value in ("train", "study")
    if _CONFIG.value is None:
        if trains:
            raise app.UsageError(f"--mode={_MODE.value} needs --config=configs/NAME.py")
        return run_folder.load_config(workdir)
    run_folder.check_places(_CONFIG.value)
    validation.validate(_CONFIG.value, jax.device_count() if trains else 1)
    run_folder.check_same_run(_CONFIG.value, workdir)
    return _CONFIG.value


def _dispatch() -> None:
    workdir = _workdir()
    processes.join(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    config = _config(workdir)
    if _MODE.value == "train":
        train(config, workdir, processes.StopRequest())
    elif _MODE.value == "study":
        run_study(config, workdir)
    elif _MODE.value == "eval":
        evaluate_run(config, workdir, _SPLIT.value)
    elif _MODE.value == "gallery":
        draw_gallery(config, workdir, _SPLIT.value, _COUNT.value)
    else:
        use_model(config, workdir)


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
