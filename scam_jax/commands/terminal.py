"""The terminal output of a command: the project's log lines, and one line for an error."""

import logging as python_logging
import pathlib
import sys
import time
import warnings
from collections.abc import Callable

import jax
from absl import logging

from scam_jax.devices import processes
from scam_jax.training.checkpoints import CheckpointError
from scam_jax.training.loop import TrainingDiverged

_ROOT = pathlib.Path(__file__).parents[2]


def show_own_log() -> None:
    """Shows this project's log lines, and only warnings of libraries such as Orbax and Grain."""
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
    """Hides what TensorStore says of each array that it was still reading from a damaged file."""
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def run(command: Callable[[], None]) -> None:
    """Runs a command. An error that the user can fix ends it with one line, without a traceback.

    If there are several processes, any error ends this process at once, because the others cannot
    continue without it.

    Args:
      command: the command, without arguments.
    """
    try:
        command()
    except (ValueError, OSError, CheckpointError, TrainingDiverged) as error:
        logging.error("%s", error)
        logging.debug("traceback of the error", exc_info=error)
        processes.end_by_error()
    except Exception as error:
        if not jax.distributed.is_initialized():
            raise
        logging.error("%s", error, exc_info=error)
        processes.end_by_error()
