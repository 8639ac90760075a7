"""What every program of this package owes its terminal: one line for an error or Ctrl-C."""

import contextlib
import io
import os
import pathlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

INTERRUPTED = 130
# Seconds after which a dropped Ctrl-C is raised again.
_MOMENT = 0.1


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


@contextlib.contextmanager
def raised_interrupts() -> Iterator[None]:
    """Lets Ctrl-C raise KeyboardInterrupt, again and again until that ends the block.

    Python drops one that is raised within a finalizer or a callback of the garbage collector, such
    as JAX's; and libraries drop one that arrives where they catch every error.
    """
    over = threading.Event()
    hook = sys.unraisablehook
    watch: threading.Thread | None = None

    def handle(number: int, frame: object) -> None:
        nonlocal watch
        if watch is None or not watch.is_alive():
            watch = threading.Thread(target=_interrupt_until, args=(over, handle), daemon=True)
            watch.start()
        raise KeyboardInterrupt

    def hide_interrupts(unraisable: "sys.UnraisableHookArgs") -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            hook(unraisable)

    signal.signal(signal.SIGINT, handle)
    sys.unraisablehook = hide_interrupts
    try:
        yield
    finally:
        over.set()
        if watch is not None:
            watch.join()


def _interrupt_until(over: threading.Event, handle: Callable[[int, object], None]) -> None:
    """Sends SIGINT to the main thread whenever no KeyboardInterrupt is on its way through it."""
    main = threading.main_thread().ident
    assert main is not None
    while not over.wait(_MOMENT):
        if _is_interrupted(main):
            continue
        # Another handler, such as that of training, takes note of the first one.
        is_own = signal.getsignal(signal.SIGINT) is handle
        signal.pthread_kill(main, signal.SIGINT)
        if not is_own:
            return


def _is_interrupted(thread: int) -> bool:
    """Returns whether a thread is in a `finally`, `except` or `with` that a Ctrl-C has reached."""
    # Python 3.11 has (type, value, traceback) where later ones have the exception.
    active: Any = sys._current_exceptions().get(thread)
    error = active[1] if isinstance(active, tuple) else active
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


@contextlib.contextmanager
def ended_by_one_line(program: str, status: int = 1) -> Iterator[None]:
    """Ends a program with one line on an error that its user can fix, and on Ctrl-C.

    Args:
      program: how the program was called, such as 'python -m scam_jax.report'.
      status: exit status after an error.
    """
    print_any_text()
    try:
        with raised_interrupts():
            yield
    except (ImportError, OSError, ValueError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(status)
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
