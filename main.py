"""Trains SCAM, evaluates it, and uses a trained model.

  python main.py --config=configs/synthetic.py                      train, or resume
  python main.py --config=configs/synthetic.py:model=sean           train a baseline
  python main.py --mode=eval --workdir=runs/synthetic               figures on the test split
  python main.py --mode=eval --workdir=runs/synthetic --split=validation    for model selection
  python main.py --mode=study --config=configs/synthetic_study.py   variants, seeds, a report
  python main.py --mode=gallery --workdir=runs/synthetic            contact sheet
  python main.py --mode=reconstruct --workdir=RUN --target=IMAGE,LABELS --output=OUT.png
  python main.py --mode=transfer --workdir=RUN --subject=IMAGE,LABELS --target=IMAGE,LABELS \\
      --output=OUT.png [--labels=1,2]
  python main.py --mode=attention --workdir=RUN --subject=IMAGE,LABELS --target=IMAGE,LABELS \\
      --output=OUT.png [--latent=LABEL,NUMBER]

Flags such as --config.train.batch_size=64 override values of the config.
"""

if __name__ == "__main__":
    from scam_jax import console

    console.end_on_interrupt()  # the imports below take seconds

import pathlib

import jax
from absl import app, flags
from ml_collections import ConfigDict, config_flags

from data import feed
from scam_jax.commands import evaluate, study, terminal, train, use
from scam_jax.devices import processes
from scam_jax.runs import changes, run_folder, validation

_CONFIG = config_flags.DEFINE_config_file("config", None, "The config, a file of configs/.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "The run's folder; by default runs/NAME for --config=configs/NAME.py."
)
_MODES = ["train", "eval", "study", "gallery", "reconstruct", "transfer", "attention"]
_MODE = flags.DEFINE_enum("mode", "train", _MODES, "The command to run.")
_ACCEPT_CHANGES = flags.DEFINE_bool(
    "accept_changes", False, "Resume a run although its config or its data have changed."
)
_INIT_FROM = flags.DEFINE_string(
    "init_from", None, "A run whose weights a new run starts from; see docs/training.md."
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "HOST:PORT of process 0. Starts one of several processes; SLURM, Open MPI and TPU pods do not "
    "need it.",
)
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "With --coordinator: the number of processes."
)
_PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "With --coordinator: the number of this process, from 0."
)
_SUBJECT = flags.DEFINE_list("subject", None, "The subject's image and label map: IMAGE,LABELS.")
_TARGET = flags.DEFINE_list("target", None, "The target's (or only) image and label map.")
_LABELS = flags.DEFINE_list(
    "labels", None, "Labels taken from the subject; by default, all except the background."
)
_LATENT = flags.DEFINE_list(
    "latent",
    None,
    "LABEL,NUMBER of the latent whose attention is drawn; by default, each pixel's strongest one.",
)
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint",
    "newest",
    "The checkpoint to evaluate or use: newest, best (of a run with config.train.keep_best), or a "
    "step.",
)
_OUTPUT = flags.DEFINE_string("output", None, "The picture to write.")
_SPLIT = flags.DEFINE_enum(
    "split", "test", ["validation", "test"], "The split to evaluate, or to draw in the gallery."
)
_COUNT = flags.DEFINE_integer("count", 12, "The number of pairs in the gallery.", lower_bound=1)


def _use_photos(workdir: pathlib.Path) -> None:
    if not _OUTPUT.value:
        raise app.UsageError("--output=OUT.png is needed: where to write the picture")
    output = run_folder.place("--output", _OUTPUT.value)
    target = _pair("target", _TARGET.value)
    if _MODE.value == "reconstruct":
        use.reconstruct(workdir, target, output, _checkpoint())
        return
    subject = _pair("subject", _SUBJECT.value)
    if _MODE.value == "transfer":
        labels = _numbers("labels", _LABELS.value)
        use.transfer(workdir, subject, target, output, labels, _checkpoint())
        return
    latent = _numbers("latent", _LATENT.value)
    if latent is not None and len(latent) != 2:
        raise app.UsageError("--latent=LABEL,NUMBER: two numbers are needed")
    pair = (latent[0], latent[1]) if latent else None
    use.attention(workdir, subject, target, output, pair, _checkpoint())


def _pair(flag: str, value: list[str] | None) -> tuple[str, str]:
    if not value or len(value) != 2:
        raise app.UsageError(f"--{flag}=IMAGE,LABELS is needed: a photo and its label map")
    return value[0], value[1]


def _numbers(flag: str, values: list[str] | None) -> list[int] | None:
    wrong = [value for value in values or [] if not value.strip().isdigit()]
    if wrong:
        raise app.UsageError(f"--{flag}: {wrong[0]!r} is not a number")
    return None if values is None else [int(value) for value in values]


def _checkpoint() -> str | int:
    value = _CHECKPOINT.value
    if value in ("newest", "best"):
        return value
    if not value.isdigit():
        raise app.UsageError(f"--checkpoint={value}: use newest, best, or the step of a checkpoint")
    return int(value)


def _workdir() -> pathlib.Path:
    if _WORKDIR.value:
        return run_folder.place("--workdir", _WORKDIR.value)
    if _CONFIG.value is None:
        raise app.UsageError("--workdir=RUN is needed, or --config=configs/NAME.py")
    return run_folder.default(config_flags.get_config_filename(flags.FLAGS["config"]))


def _config(workdir: pathlib.Path) -> ConfigDict:
    """Returns the given config after checking it, or the run's own config if none is given."""
    trains = _MODE.value in ("train", "study")
    if _CONFIG.value is None:
        if trains:
            raise app.UsageError(f"--mode={_MODE.value} needs --config=configs/NAME.py")
        return run_folder.load_config(workdir)
    run_folder.check_places(_CONFIG.value)
    validation.validate(_CONFIG.value, jax.device_count() if trains else 1)
    changes.check_weights_fit(_CONFIG.value, workdir)
    return _CONFIG.value


def _dispatch() -> None:
    workdir = _workdir()
    processes.join(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    config = _config(workdir)
    with terminal.explaining_memory(config):
        _run_mode(config, workdir)


def _run_mode(config: ConfigDict, workdir: pathlib.Path) -> None:
    mode = _MODE.value
    if mode == "train":
        init_from = _INIT_FROM.value and run_folder.place("--init_from", _INIT_FROM.value)
        train.train(
            config,
            workdir,
            feed.prepare,
            processes.StopRequest(),
            accept_changes=_ACCEPT_CHANGES.value,
            init_from=init_from or None,
        )
    elif mode == "study":
        study.run_study(config, workdir, feed.prepare)
    elif mode == "eval":
        evaluate.evaluate(config, workdir, feed.prepare, _SPLIT.value, _checkpoint())
    elif mode == "gallery":
        use.gallery(config, workdir, feed.prepare, _SPLIT.value, _COUNT.value, _checkpoint())
    else:
        _use_photos(workdir)


def main(argv: list[str]) -> None:
    """Runs the command that the flags describe."""
    if len(argv) > 1:
        raise app.UsageError(f"unknown argument {argv[1]!r}")
    terminal.run(_dispatch)


if __name__ == "__main__":
    terminal.show_own_log()
    app.run(main)
