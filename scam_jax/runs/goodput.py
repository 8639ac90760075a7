"""The share of a run's whole life that went to training steps which count."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from scam_jax.training.ledger import STEP


class Goodput(NamedTuple):
    """Where the time of a run went, restarts included.

    Attributes:
      life: seconds from the first start to the last record.
      useful: seconds of steps that count.
      repeated: seconds of steps that were done again, because they were not saved.
      parts: seconds of each other part.
      away: seconds without a record: the run stood still, or lost what it did since its last
        record.
    """

    life: float
    useful: float
    repeated: float
    parts: Mapping[str, float]
    away: float

    @property
    def share(self) -> float:
        """The share of the run's life that went to steps that count."""
        return self.useful / self.life if self.life else 0.0


def of_starts(starts: Sequence[Mapping[str, Any]]) -> Goodput | None:
    """Computes the goodput of a run.

    Args:
      starts: the entries of its runs.jsonl.

    Returns:
      The goodput, or None if nothing was recorded.
    """
    recorded = [start for start in starts if start.get("seconds")]
    if not recorded:
        return None
    useful, repeated, parts = 0.0, 0.0, dict[str, float]()
    for i, start in enumerate(starts):
        if not (seconds := start.get("seconds")):
            continue
        done = start["reached"] - start["step"]
        lasting = min([start["reached"], *(later["step"] for later in starts[i + 1 :])])
        kept = max(lasting - start["step"], 0)
        share = kept / done if done else 0.0
        useful += share * seconds[STEP]
        repeated += (1 - share) * seconds[STEP]
        for name, part in seconds.items():
            if name != STEP:
                parts[name] = parts.get(name, 0.0) + part
    last = recorded[-1]
    life = last["began"] + sum(last["seconds"].values()) - starts[0]["began"]
    known = useful + repeated + sum(parts.values())
    return Goodput(max(life, known), useful, repeated, parts, max(life - known, 0.0))
