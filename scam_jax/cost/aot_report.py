"""What compiling a training step tells: memory, time at best, what crosses devices; as text."""

import dataclasses
import re
from typing import NamedTuple

from ml_collections import ConfigDict

from scam_jax import models
from scam_jax.cost.chips import Chip

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
# Gradients of the autoencoder and of the discriminator, and metrics.
_ALL_REDUCES = 3
_GIB = 2**30
# An instruction of compiled code: %name = shape operation(operands), …; the shape may be a tuple.
_INSTRUCTION = re.compile(
    r"^\s*(?:ROOT )?%?[\w.\-]+ = (?P<shape>\(.*?\)|\S+) "
    rf"(?P<kind>{'|'.join(COLLECTIVES)})(?P<start>-start)?\(",
    re.MULTILINE,
)
_ARRAY = re.compile(r"\b(?P<type>pred|[a-z]+(?P<bits>\d+)\w*)\[(?P<sizes>[\d,]*)\]")


class Traffic(NamedTuple):
    """Collectives of one kind: how many in the code, and the bytes of their results on a chip."""

    count: int
    bytes: int


class Roofline(NamedTuple):
    """The least time of a step.

    Attributes:
      seconds: if the busier of the two were busy all the time.
      bound: which one that is, 'compute' or 'memory'.
    """

    seconds: float
    bound: str


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of one step on one chip, as XLA estimates it.

    Attributes:
      peak_bytes: most memory in use at a time.
      argument_bytes: of it, state, batch and frozen networks.
      temporary_bytes: of it, what lives within the step alone.
      flops: floating-point operations, those that are done twice to save memory included.
      bytes_accessed: read and written by all operations, on-chip memory included.
      traffic: collectives by kind.
    """

    peak_bytes: int
    argument_bytes: int
    temporary_bytes: int
    flops: float
    bytes_accessed: float
    traffic: dict[str, Traffic]


@dataclasses.dataclass(frozen=True)
class Report:
    """The training step of a config, compiled for a number of chips.

    Attributes:
      config: of the run.
      topology: the chips' arrangement, by XLA's name.
      chip, num_chips: what they are and how many.
      seconds: that compiling took.
      cost: of the compiled step; None if it does not fit into a chip's memory.
      needs: if it does not, what it needs of what there is.
    """

    config: ConfigDict
    topology: str
    chip: Chip
    num_chips: int
    seconds: float
    cost: Cost | None
    needs: str = ""

    @property
    def batch_a_chip(self) -> int:
        return self.config.train.batch_size // self.num_chips


def traffic_of(compiled_text: str) -> dict[str, Traffic]:
    """The collectives in compiled code (`compiled.as_text()`), by kind.

    The two halves of an asynchronous one count once, and so does one of several arrays.
    """
    traffic = {}
    for match in _INSTRUCTION.finditer(compiled_text):
        shape = match["shape"]
        if match["start"] and match["kind"] != "all-reduce":
            # (operands, results, …); an all-reduce's first half has its results alone
            shape = _parts(shape)[1]
        count, size = traffic.get(match["kind"], Traffic(0, 0))
        traffic[match["kind"]] = Traffic(count + 1, size + _bytes(shape))
    return traffic


def _parts(shape: str) -> list[str]:
    """The shapes in a tuple's, themselves perhaps tuples."""
    parts, depth = [""], 0
    for letter in shape[1:-1]:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _bytes(shape: str) -> int:
    """Of all arrays named in a shape."""
    total = 0
    for match in _ARRAY.finditer(shape):
        elements = 1
        for size in filter(None, match["sizes"].split(",")):
            elements *= int(size)
        total += elements * int(match["bits"] or 8) // 8
    return total


def roofline(flops: float, bytes_accessed: float, chip: Chip) -> Roofline:
    """The least time that `chip` needs for so many operations and so much traffic to memory."""
    compute = flops / chip.flops_per_second
    memory = bytes_accessed / chip.bytes_per_second
    return Roofline(compute, "compute") if compute >= memory else Roofline(memory, "memory")


def allowed_all_reduces(config: ConfigDict) -> int | None:
    """How many all-reduces a step may have; None for as many as there are.

    One of each side's gradients, one of the metrics, two of gradient norms if those scale the GAN
    loss, one more of each side's gradients if they are sharpness-aware, one of the labels' numbers
    of pixels if those are balanced. A batch norm's statistics cross devices at every layer.
    """
    if models.family_of(config).batch_norm(config.model):
        return None
    further = 2 * config.losses.adaptive_gan
    further += 2 * (config.optimizer.sam_rho > 0)
    further += config.losses.gan_kind == "oasis"
    return _ALL_REDUCES + further


def problems(report: Report) -> list[str]:
    """What is wrong with a compiled step, a sentence each."""
    if report.cost is None:
        return [f"does not fit: needs {report.needs}"]
    traffic, allowed = report.cost.traffic, allowed_all_reduces(report.config)
    found = []
    count = traffic.get("all-reduce", Traffic(0, 0)).count
    if allowed is not None and count > allowed:
        found.append(f"{count} all-reduces a step: at most {allowed} are needed")
    for kind in COLLECTIVES:
        if kind != "all-reduce" and kind in traffic:
            found.append(f"{traffic[kind].count} × {kind}: data parallelism needs none")
    return found


_COLUMNS = (
    "chips",
    "batch",
    "a chip",
    "rematerialized",
    "memory, GiB",
    "TFLOP an image",
    "GB an image",
    "bound by",
    "images/s a chip at most",
    "all-reduces, MB",
)
HEADER = f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}\n"


def row(report: Report) -> str:
    """A line of the table that begins with `HEADER`."""
    train, cost, images = report.config.train, report.cost, report.batch_a_chip
    remade = "yes" if train.rematerialize else "no"
    cells = [report.topology, f"{train.batch_size}", f"{images}", remade]
    if cost is None:
        cells += [f"does not fit: {report.needs}", *["–"] * (len(_COLUMNS) - len(cells) - 1)]
    else:
        best = roofline(cost.flops, cost.bytes_accessed, report.chip)
        reduced = cost.traffic.get("all-reduce", Traffic(0, 0))
        cells += [
            f"{cost.peak_bytes / _GIB:.1f} of {report.chip.memory_bytes / _GIB:.0f}",
            f"{cost.flops / images / 1e12:.3f}",
            f"{cost.bytes_accessed / images / 1e9:.2f}",
            best.bound,
            f"{images / best.seconds:.1f}",
            f"{reduced.count}, {reduced.bytes / 1e6:.1f}",
        ]
    return f"| {' | '.join(cells)} |\n"


def details(report: Report) -> str:
    """All that is known of a compiled step, as a Markdown list under a heading."""
    config, train = report.config, report.config.train
    lines = [
        f"{report.num_chips} × {report.chip.name}, batch {train.batch_size}, "
        f"{report.batch_a_chip} a chip",
        f"{config.data.height}×{config.data.width}, {config.model.dtype}, rematerialize = "
        f"{train.rematerialize}, accumulation_steps = {train.accumulation_steps}",
        f"compiled in {report.seconds:.0f} s",
    ]
    if report.cost is not None:
        lines += _cost_lines(report.cost, report.chip, report.batch_a_chip)
    lines += [f"**{problem}**" for problem in problems(report)]
    return f"### {report.topology}\n\n" + "".join(f"- {line}\n" for line in lines)


def _cost_lines(cost: Cost, chip: Chip, images: int) -> list[str]:
    best = roofline(cost.flops, cost.bytes_accessed, chip)
    lines = [
        f"memory: {cost.peak_bytes / _GIB:.2f} GiB at the peak of {chip.memory_bytes / _GIB:.0f}; "
        f"state, batch and frozen networks {cost.argument_bytes / _GIB:.2f}, temporary "
        f"{cost.temporary_bytes / _GIB:.2f}",
    ]
    for per, divisor in (("a step and chip", 1), ("an image", images)):
        tflop, gigabytes = cost.flops / divisor / 1e12, cost.bytes_accessed / divisor / 1e9
        lines.append(f"{tflop:.4g} TFLOP and {gigabytes:.4g} GB {per}")
    lines.append(
        f"at best {best.seconds * 1e3:.1f} ms a step, {images / best.seconds:.1f} images/s a chip, "
        f"bound by {best.bound}"
    )
    kinds = [kind for kind in COLLECTIVES if kind in cost.traffic]
    return lines + [
        f"{kind}: {cost.traffic[kind].count}, {cost.traffic[kind].bytes / 1e6:.2f} MB"
        for kind in kinds
    ]
