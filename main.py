"""Trains SCAM, evaluates it, and uses a trained model.

  python main.py --config=configs/synthetic.py                      train, or resume
  python main.py --config=configs/synthetic.py:model=sean           train a baseline
  python main.py --config=configs/celeba.py --workdir=RUN --init_from=OTHER    from its weights
  python main.py --mode=eval --workdir=runs/synthetic               figures on the test split
  python main.py --mode=eval --workdir=runs/synthetic --split=validation    for model selection
  python main.py --mode=study --config=configs/synthetic_study.py   variants, seeds, a report
  python main.py --mode=gallery --workdir=runs/synthetic            contact sheet
  python main.py --mode=reconstruct --workdir=RUN --target=IMAGE,LABELS --output=OUT.png
  python main.py --mode=transfer --workdir=RUN --subject=IMAGE,LABELS --target=IMAGE,LABELS \\
      --output=OUT.png [--labels=1,2]
  python main.py --mode=transfer --workdir=RUN --recipe=FILE --output=OUT.png    from the studio
  python main.py --mode=studio --workdir=RUN                        all of this in the browser
  python main.py --mode=attention --workdir=RUN --subject=IMAGE,LABELS --target=IMAGE,LABELS \\
      --output=OUT.png [--labels=1,2] [--latent=LABEL,NUMBER]
  python main.py --mode=export --workdir=RUN --output=DIR           a release of the model
  python main.py --mode=parser --workdir=RUN                        train what draws label maps
  python main.py --mode=label --workdir=RUN --photos=DIR            label maps of one's own photos

Flags such as --config.train.batch_size=64 override values of the config.
"""

if __name__ == "__main__":
    from scam_jax import console, host_memory

    console.end_on_interrupt()  # the imports below take seconds
    host_memory.keep_freed()  # before JAX starts its threads

import sys

import jax
from absl import app, flags
from etils import epath
from ml_collections import ConfigDict

from data import feed
from scam_jax.commands import (
    arguments,
    evaluate,
    export,
    label,
    parser,
    studio,
    study,
    terminal,
    train,
    use,
)
from scam_jax.devices import compilation_cache, processes
from scam_jax.inference import recipe_file, sources
from scam_jax.runs import changes, command_line, run_folder, validation
from scam_jax.runs.command_line import CommandLine

_WORKDIR = flags.DEFINE_string(
    "workdir", None, "The run's folder; by default runs/NAME for --config=configs/NAME.py."
)
_MODES = ["train", "eval", "study", "gallery", "reconstruct", "transfer", "attention", "export"]
_MODES += ["parser", "label", "studio"]
_MODE = flags.DEFINE_enum("mode", "train", _MODES, "The command to run.")
_ACCEPT_CHANGES = flags.DEFINE_bool(
    "accept_changes", False, "Resume a run although its config or its data have changed."
)
_INIT_FROM = flags.DEFINE_string(
    "init_from",
    None,
    "A run or release whose weights a new run starts from; see docs/training.md.",
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "HOST:PORT of process 0. Starts one of several processes; SLURM, Open MPI 4 and TPU pods do "
    "not need it.",
)
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "With --coordinator: the number of processes."
)
_PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "With --coordinator: the number of this process, from 0."
)
_COMPILATION_CACHE = flags.DEFINE_string(
    "compilation_cache",
    None,
    "The folder of compiled programs, which later commands load; off for none. By default "
    "JAX_COMPILATION_CACHE_DIR, or ~/.cache/scam_jax/HOST, or none with several processes, which "
    "need one that all share.",
)
_SUBJECT = flags.DEFINE_string(
    "subject",
    None,
    "The subject's image and label map: IMAGE,LABELS; or IMAGE alone, whose label map the run's "
    "parser draws.",
)
_TARGET = flags.DEFINE_string("target", None, "The target's (or only) image and label map.")
_RECIPE = flags.DEFINE_string(
    "recipe", None, "A transfer's recipe, a JSON file that the studio saves; see docs/studio.md."
)
_PHOTOS = flags.DEFINE_string("photos", None, "The folder of photos to draw label maps of.")
_LABELS = flags.DEFINE_list(
    "labels",
    None,
    "Labels taken from the subject, by number or name; by default, all except the background.",
)
_ABSENT = flags.DEFINE_string(
    "absent",
    sources.TARGET,
    "What stands in for labels that the subject lacks: target (the target's own), guess (the "
    "model's, as published), or other labels of the subject, such as 'outerwear<top,dress<top'.",
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
_OUTPUT = flags.DEFINE_string("output", None, "The picture, or the folder of a release, to write.")
_DTYPE = flags.DEFINE_enum(
    "dtype", "float32", ["float32", "bfloat16"], "Type of the weights of a release."
)
_LICENSE = flags.DEFINE_string(
    "license", "", "Licence of the weights of a release, for its card: apache-2.0, for example."
)
_SPLIT = flags.DEFINE_enum(
    "split", "test", ["validation", "test"], "The split to evaluate, or to draw in the gallery."
)
_HOST = flags.DEFINE_string(
    "host", "127.0.0.1", "Where the studio listens. On other addresses it asks for a token."
)
_PORT = flags.DEFINE_integer("port", 8000, "The studio's port.", lower_bound=0, upper_bound=65535)
_EXAMPLES = flags.DEFINE_integer(
    "examples", 0, "The number of examples of the test split in a release.", lower_bound=0
)
_COUNT = flags.DEFINE_integer("count", 12, "The number of pairs in the gallery.", lower_bound=1)


def _use_photos(workdir: epath.Path, checkpoint: str | int) -> None:
    if _MODE.value == "transfer" and _RECIPE.value:
        recipe = arguments.recipe(_RECIPE.value, flags.FLAGS)
        read = [recipe, *recipe_file.files_of(recipe)]
        output = arguments.output(_OUTPUT.value, map(str, read))
        use.from_recipe(workdir, recipe, output, checkpoint)
        return
    target = arguments.pair("target", _TARGET.value)
    if _MODE.value == "reconstruct":
        output = arguments.output(_OUTPUT.value, target)
        use.reconstruct(workdir, target, output, checkpoint)
        return
    subject = arguments.pair("subject", _SUBJECT.value)
    output = arguments.output(_OUTPUT.value, [*subject, *target])
    if _MODE.value == "transfer":
        use.transfer(workdir, subject, target, output, _LABELS.value, _ABSENT.value, checkpoint)
    else:
        latent = arguments.latent(_LATENT.value)
        use.attention(
            workdir, subject, target, output, _LABELS.value, _ABSENT.value, latent, checkpoint
        )


def _workdir(given: CommandLine) -> epath.Path:
    if _WORKDIR.value:
        return run_folder.place_or_bucket("--workdir", _WORKDIR.value)
    if given.file is None:
        raise ValueError("--workdir=RUN is needed, or --config=configs/NAME.py")
    return epath.Path(run_folder.default(given.file))


def _config(given: CommandLine, workdir: epath.Path) -> ConfigDict:
    """Returns the config after checking it: of the file, or of the run if no file is given."""
    trains = _MODE.value in ("train", "study")
    if trains and given.file is None:
        raise ValueError(f"--mode={_MODE.value} needs --config=configs/NAME.py")
    config = given.config or run_folder.load_config(workdir)
    if "model" not in config:
        raise ValueError(f"--workdir={workdir} is the parser of a run: give {workdir.parent}")
    run_folder.expand_places(config)
    validation.validate(config, jax.device_count() if trains else 1)
    changes.check_weights_fit(config, workdir)
    return config


def _dispatch(given: CommandLine) -> None:
    workdir = _workdir(given)
    trains = _MODE.value in ("train", "study", "parser")
    others = _COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value
    processes.join(*others, stop_together=trains)
    compilation_cache.use(_COMPILATION_CACHE.value)
    config = _config(given, workdir)
    with terminal.explaining_memory(config, _MODE.value):
        _run_mode(config, workdir)


def _run_mode(config: ConfigDict, workdir: epath.Path) -> None:
    mode, split = _MODE.value, _SPLIT.value
    checkpoint = arguments.checkpoint(_CHECKPOINT.value)
    if mode in ("train", "study"):
        init_from = None
        if _INIT_FROM.value:
            init_from = run_folder.place_or_bucket("--init_from", _INIT_FROM.value)
        run = train.train if mode == "train" else study.run_study
        stop, accept_changes = processes.StopRequest(), _ACCEPT_CHANGES.value
        run(config, workdir, feed.prepare, stop, accept_changes=accept_changes, init_from=init_from)
    elif mode == "eval":
        evaluate.evaluate(config, workdir, feed.prepare, split, checkpoint)
    elif mode == "parser":
        stop = processes.StopRequest()
        parser.train(config, workdir, feed.prepare, stop, _ACCEPT_CHANGES.value)
    elif mode == "label":
        label.label(workdir, arguments.photos(_PHOTOS.value))
    elif mode == "export":
        output = arguments.folder(_OUTPUT.value)
        export.export(
            config,
            workdir,
            output,
            feed.prepare,
            checkpoint,
            _DTYPE.value,
            _LICENSE.value,
            _EXAMPLES.value,
        )
    elif mode == "studio":
        place = _HOST.value, _PORT.value
        studio.studio(config, workdir, feed.prepare, *place, checkpoint)
    elif mode == "gallery":
        use.gallery(config, workdir, feed.prepare, split, _COUNT.value, checkpoint)
    else:
        _use_photos(workdir, checkpoint)


def main(given: CommandLine) -> None:
    """Runs the command that the flags describe."""
    if given.rest:
        sys.exit(f"main.py: unknown argument {given.rest[0]!r}: a flag begins with --")
    terminal.run(lambda: _dispatch(given))


if __name__ == "__main__":
    terminal.show_own_log()
    host_memory.compute_on_calling_thread()
    app.run(main, flags_parser=command_line.parse)
