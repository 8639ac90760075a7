"""Where the time of a training goes: seconds by part."""

import contextlib
import time
from collections.abc import Iterator

# What is measured; all other time goes to the steps.
MEASURED = ("start", "compile", "data", "evaluation", "checkpoint", "panel")
STEP = "step"


class Ledger:
    """Counts seconds from its making on. A part must not lie within another.

    Attributes:
      began: when it was made, in seconds since 1970.
    """

    def __init__(self) -> None:
        self._begun = time.perf_counter()
        self.began = time.time()
        self._seconds = dict.fromkeys(MEASURED, 0.0)

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Counts the time of a block as a part."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - begun)

    def add(self, name: str, seconds: float) -> None:
        """Counts seconds as a part."""
        self._seconds[name] += seconds

    def end_start(self) -> None:
        """Counts all time up to now that is no other part as the start."""
        self._seconds["start"] += self.seconds()[STEP]

    def seconds(self) -> dict[str, float]:
        """Returns the seconds of each part, the steps included."""
        total = time.perf_counter() - self._begun
        steps = total - sum(self._seconds.values())
        return {**self._seconds, STEP: max(steps, 0.0)}


def told(seconds: dict[str, float]) -> str:
    """Returns a line such as '12 min: step 85%, compile 9%, evaluation 6%', the largest first."""
    total = max(sum(seconds.values()), 1e-9)
    parts = sorted(seconds.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{name} {part / total:.0%}" for name, part in parts if part / total >= 0.005)
    return f"{duration(total)}: {shown}"


def duration(seconds: float) -> str:
    """Returns a time in s, min, h or days."""
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
