"""What every program of this package owes its terminal: one line for an error or Ctrl-C."""

import contextlib
import io
import os
import pathlib
import signal
import sys
import threading
from collections.abc import Iterator

INTERRUPTED = 130
# Seconds after which a dropped Ctrl-C is raised again.
_MOMENT = 0.05


def path(text: str) -> pathlib.Path:
    """Converts an argument to a path; `~` is the home, also after `--output=`.

    The name of a user that there is not stays as it is. (Path.expanduser would raise RuntimeError.)
    """
    return pathlib.Path(os.path.expanduser(text))


def print_any_text() -> None:
    """Lets a terminal that is not UTF-8 print every text, with `\\x…` for what it lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def silence_libraries() -> None:
    """Silences what processes of libraries say after the error that ended their program."""
    # The tracker of shared memory lists what it removes; it is a process of its own.
    own = os.environ.get("PYTHONWARNINGS")
    rule = "ignore:resource_tracker:UserWarning"
    os.environ["PYTHONWARNINGS"] = f"{own},{rule}" if own else rule


def end_on_interrupt() -> None:
    """Ends the program with one line on Ctrl-C while it is still being imported."""

    def end(number, frame):
        print("interrupted", file=sys.stderr, flush=True)
        os._exit(INTERRUPTED)

    signal.signal(signal.SIGINT, end)


def raise_on_interrupt() -> None:
    """Lets Ctrl-C raise KeyboardInterrupt, as usual, once the program handles it.

    Python drops one that is raised within a finalizer or a callback of the garbage collector, such
    as JAX's. It is raised again a moment later.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    others = sys.unraisablehook

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            main = threading.main_thread().ident
            again = threading.Timer(_MOMENT, signal.pthread_kill, (main, signal.SIGINT))
            again.daemon = True
            again.start()
        else:
            others(unraisable)

    sys.unraisablehook = hook


@contextlib.contextmanager
def ended_by_one_line(program: str, status: int = 1) -> Iterator[None]:
    """Ends a program with one line on an error that its user can fix, and on Ctrl-C.

    Args:
      program: how the program was called, such as 'python -m scam_jax.report'.
      status: exit status after an error.
    """
    print_any_text()
    raise_on_interrupt()
    try:
        yield
    except (ImportError, OSError, ValueError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(status)
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
