"""The terminal output of a command: the project's log lines, and one line for an error."""

import contextlib
import logging as python_logging
import pathlib
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator

import jax
from absl import logging
from ml_collections import ConfigDict

from scam_jax import console
from scam_jax.devices import processes
from scam_jax.training.checkpoints import CheckpointError
from scam_jax.training.meter import TrainingDiverged

_OUT_OF_MEMORY = re.compile(r"RESOURCE_EXHAUSTED|[Oo]ut of memory|bad_alloc")
# What a process hears of one that is gone, over Gloo, NCCL and JAX's coordinator.
_LOST_PROCESS = re.compile(r"Gloo .* failed|reset by peer|closed by peer|[Hh]eartbeat|remote error")
_ROOT = pathlib.Path(__file__).parents[2]


class OutOfMemoryError(RuntimeError):
    """The devices or the host have too little memory; the message says what needs less."""


def show_own_log() -> None:
    """Shows this project's log lines, and only warnings of libraries such as Orbax and Grain."""
    console.print_any_text()
    console.silence_libraries()
    logging.set_verbosity(logging.INFO)
    handler = logging.get_absl_handler()
    handler.addFilter(_is_worth_reading)
    handler.setFormatter(_Formatter())
    sys.unraisablehook = _hide_abandoned_reads
    warnings.filterwarnings("ignore", "coroutine .* was never awaited")


class _Formatter(python_logging.Formatter):
    """Formats lines as absl does, without microseconds and thread: 'I1126 08:31:39 loop.py:55] …'.

    The time is the local time.
    """

    def format(self, record: python_logging.LogRecord) -> str:
        when = time.strftime("%m%d %H:%M:%S", time.localtime(record.created))
        text = super().format(record)
        return f"{record.levelname[0]}{when} {record.filename}:{record.lineno}] {text}"


def _is_worth_reading(record: python_logging.LogRecord) -> bool:
    path = pathlib.Path(record.pathname)
    if path.is_relative_to(_ROOT) and "site-packages" not in path.parts:
        return True
    # What Orbax cannot do, it also raises, and asyncio repeats it for every array.
    return record.levelno >= python_logging.WARNING and not {"orbax", "asyncio"} & {*path.parts}


def _hide_abandoned_reads(unraisable: "sys.UnraisableHookArgs") -> None:
    """Hides what Orbax says of each array that it was still reading from a damaged file."""
    code = getattr(unraisable.object, "cr_code", None)
    of_orbax = code is not None and "orbax" in pathlib.Path(code.co_filename).parts
    if not of_orbax and str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


@contextlib.contextmanager
def explaining_memory(config: ConfigDict, mode: str) -> Iterator[None]:
    """Says on an out-of-memory error which values of a config need less memory.

    Args:
      config: the whole config.
      mode: the command, as main.py names it.

    Raises:
      OutOfMemoryError: instead of the error.
    """
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        said = str(error).strip().splitlines()
        if not isinstance(error, MemoryError) and not _OUT_OF_MEMORY.search(str(error)):
            raise
        where = said[0] if said else "of this host"
        raise OutOfMemoryError(f"out of memory ({where}): {_remedy(config, mode)}") from error


def _remedy(config: ConfigDict, mode: str) -> str:
    train = config.train
    if mode in ("train", "study"):
        return (
            f"lower config.train.batch_size = {train.batch_size}, raise "
            f"config.train.accumulation_steps = {train.accumulation_steps}, or set "
            f"config.train.rematerialize = True (now {train.rematerialize})"
        )
    if mode == "parser":
        return f"lower config.parser.batch_size = {config.parser.batch_size}"
    if mode == "eval":
        return f"lower config.train.batch_size = {train.batch_size}, which evaluation has too"
    return "end other programs, or use a machine with more memory"


def run(command: Callable[[], None]) -> None:
    """Runs a command. An error that the user can fix ends it with one line, without a traceback.

    So does Ctrl-C. If there are several processes, any error ends this process at once, because the
    others cannot continue without it.

    Args:
      command: the command, without arguments.
    """
    try:
        with console.raised_interrupts():
            command()
    except (ValueError, OSError, CheckpointError, OutOfMemoryError, TrainingDiverged) as error:
        logging.error("%s", error)
        logging.debug("traceback of the error", exc_info=error)
        processes.end(1)
    except KeyboardInterrupt:
        logging.error("interrupted")
        processes.end(console.INTERRUPTED)
    except Exception as error:
        if not jax.distributed.is_initialized():
            raise
        if isinstance(error, jax.errors.JaxRuntimeError) and _LOST_PROCESS.search(str(error)):
            said = str(error).strip().splitlines()[0]
            logging.error(
                "another process of this run has ended: its last lines say why; the same command "
                "resumes (%s)",
                said,
            )
        else:
            logging.error("%s", error, exc_info=error)
        processes.end(1)
