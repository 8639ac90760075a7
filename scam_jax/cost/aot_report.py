"""The cost of a compiled training step as text: memory, time at the chip's peaks, traffic."""

import dataclasses
import re
from typing import NamedTuple

from ml_collections import ConfigDict

from scam_jax import models
from scam_jax.cost import memory_traffic
from scam_jax.cost.chips import Chip

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
# One each for the gradients of the generator side, of the discriminator, and for the metrics.
_ALL_REDUCES = 3
_GIB = 2**30
# Instructions of compiled code are `%name = shape operation(operands), …`. A shape may be a tuple.
_INSTRUCTION = re.compile(
    r"^\s*(?:ROOT )?%?[\w.\-]+ = (?P<shape>\(.*?\)|\S+) "
    rf"(?P<kind>{'|'.join(COLLECTIVES)})(?P<start>-start)?\(",
    re.MULTILINE,
)
# What a chip sends to its like in another slice, through its host: `(what, …) send(…)`.
_SEND = re.compile(r"= \((?P<shape>[^ ]+?\])[^=]*? send\([^\n]*xla_megascale_runtime")


class Traffic(NamedTuple):
    """Collectives of one kind: their number in the code, and their results' bytes per chip."""

    number: int
    bytes: int


class Roofline(NamedTuple):
    """The time of a compiled step at the chip's peaks.

    Attributes:
      seconds: time of the step if the bottleneck is busy all the time.
      bound: the bottleneck, 'compute' or 'memory'.
    """

    seconds: float
    bound: str


@dataclasses.dataclass(frozen=True)
class Cost:
    """The cost of one step on one chip, as XLA estimates it.

    Attributes:
      peak_bytes: peak memory.
      argument_bytes: memory of the step's arguments: state, batch and frozen networks.
      temporary_bytes: memory of the step's temporary arrays.
      flops: floating-point operations, including recomputation that saves memory.
      bytes_accessed: bytes that all operations read and write, including on-chip memory.
      bytes_moved: bytes that move between the memory and the chip, by `memory_traffic`.
      traffic: collectives within a slice, keyed by kind.
      between_slices: what a chip sends to other slices, over the data center's network (DCN).
      places: bytes that move, by place, the largest first.
    """

    peak_bytes: int
    argument_bytes: int
    temporary_bytes: int
    flops: float
    bytes_accessed: float
    bytes_moved: float
    traffic: dict[str, Traffic]
    between_slices: Traffic
    places: dict[memory_traffic.Place, int]


@dataclasses.dataclass(frozen=True)
class Report:
    """The training step of a config, compiled for a number of chips.

    Attributes:
      config: the whole config.
      topology: XLA's name of a slice's topology.
      slices: number of slices.
      chip: the kind of chip.
      num_chips: number of chips of all slices.
      seconds: time of the compilation.
      cost: cost per chip, or None if the step does not fit into the memory of a chip.
      needs: needed and available memory, if the step does not fit.
    """

    config: ConfigDict
    topology: str
    slices: int
    chip: Chip
    num_chips: int
    seconds: float
    cost: Cost | None
    needs: str = ""

    @property
    def batch_a_chip(self) -> int:
        """The number of images per chip."""
        return self.config.train.batch_size // self.num_chips

    @property
    def place(self) -> str:
        """The topology, after the number of slices if there are several."""
        return self.topology if self.slices == 1 else f"{self.slices} × {self.topology}"


def traffic_of(compiled_text: str) -> dict[str, Traffic]:
    """Counts the collectives in compiled code.

    An asynchronous collective, which has two instructions, counts once. So does a collective of
    several arrays.

    Args:
      compiled_text: the code, `compiled.as_text()`.

    Returns:
      Number and bytes, keyed by kind.
    """
    traffic: dict[str, Traffic] = {}
    for match in _INSTRUCTION.finditer(compiled_text):
        shape = match["shape"]
        if match["start"] and match["kind"] != "all-reduce":
            # The shape is (operands, results, …), while all-reduce-start has only the results.
            shape = _parts(shape)[1]
        count, size = traffic.get(match["kind"], Traffic(0, 0))
        traffic[match["kind"]] = Traffic(count + 1, size + memory_traffic.size_in_bytes(shape))
    return traffic


def traffic_between_slices(compiled_text: str) -> Traffic:
    """Counts what a chip sends to other slices in compiled code.

    Gradients are summed within each slice first. Each chip then exchanges its share of the sums.

    Args:
      compiled_text: the code, `compiled.as_text()`.
    """
    shapes = [match["shape"] for match in _SEND.finditer(compiled_text)]
    return Traffic(len(shapes), sum(map(memory_traffic.size_in_bytes, shapes)))


def _parts(shape: str) -> list[str]:
    """Returns the element shapes of a tuple shape; they may be tuples themselves."""
    parts, depth = [""], 0
    for letter in shape[1:-1]:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def roofline(flops: float, bytes_moved: float, chip: Chip) -> Roofline:
    """Returns the time in which a chip runs a compiled step at its peaks.

    Args:
      flops: floating-point operations of the step.
      bytes_moved: bytes that the step reads from and writes to memory.
      chip: the kind of chip.
    """
    compute = flops / chip.flops_per_second
    memory = bytes_moved / chip.bytes_per_second
    return Roofline(compute, "compute") if compute >= memory else Roofline(memory, "memory")


def allowed_all_reduces(config: ConfigDict) -> int | None:
    """Returns the number of all-reduces that a step needs, or None for any number.

    There is one all-reduce for the gradients of each side and one for the metrics. The adaptive GAN
    weight adds two, sharpness-aware minimization adds one per side, and OASIS's balanced labels add
    one. Batch norm has no limit, because its statistics are reduced at every layer.
    """
    if models.family_of(config).batch_norm(config.model):
        return None
    further = 2 * config.losses.adaptive_gan
    further += 2 * (config.optimizer.sam_rho > 0)
    further += config.losses.gan_kind == "oasis"
    return _ALL_REDUCES + further


def problems(report: Report) -> list[str]:
    """Returns the problems of a compiled step, one sentence each."""
    if report.cost is None:
        return [f"does not fit: needs {report.needs}"]
    traffic, allowed = report.cost.traffic, allowed_all_reduces(report.config)
    found = []
    count = traffic.get("all-reduce", Traffic(0, 0)).number
    if allowed is not None and count > allowed:
        found.append(f"{count} all-reduces per step: at most {allowed} are needed")
    for kind in COLLECTIVES:
        # The sums of several slices are gathered within each.
        needed = kind == "all-reduce" or (kind == "all-gather" and report.slices > 1)
        if not needed and kind in traffic:
            found.append(f"{traffic[kind].number} × {kind}: data parallelism needs none")
    return found


_COLUMNS = (
    "chips",
    "batch",
    "per chip",
    "rematerialized",
    "memory, GiB",
    "TFLOP per image",
    "GB per image",
    "bound by",
    "images/s per chip at its peaks",
    "all-reduces, MB",
)
HEADER = f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}\n"


def row(report: Report) -> str:
    """Returns a report as a row of the table that begins with `HEADER`."""
    train, cost, images = report.config.train, report.cost, report.batch_a_chip
    remade = "yes" if train.rematerialize else "no"
    cells = [report.place, f"{train.batch_size}", f"{images}", remade]
    if cost is None:
        cells += [f"does not fit: {report.needs}", *["–"] * (len(_COLUMNS) - len(cells) - 1)]
    else:
        best = roofline(cost.flops, cost.bytes_moved, report.chip)
        reduced = cost.traffic.get("all-reduce", Traffic(0, 0))
        cells += [
            f"{cost.peak_bytes / _GIB:.1f} of {report.chip.memory_bytes / _GIB:.0f}",
            f"{cost.flops / images / 1e12:.3f}",
            f"{cost.bytes_moved / images / 1e9:.2f}",
            best.bound,
            f"{images / best.seconds:.1f}",
            f"{reduced.number}, {reduced.bytes / 1e6:.1f}",
        ]
    return f"| {' | '.join(cells)} |\n"


def details(report: Report) -> str:
    """Returns the full report as a Markdown list under a heading."""
    config, train = report.config, report.config.train
    lines = [
        f"{report.num_chips} × {report.chip.name}, batch {train.batch_size}, "
        f"{report.batch_a_chip} per chip",
        f"{config.data.height}×{config.data.width}, {config.model.dtype}, rematerialize = "
        f"{train.rematerialize}, accumulation_steps = {train.accumulation_steps}",
        f"compiled in {report.seconds:.0f} s",
    ]
    if report.cost is not None:
        lines += _cost_lines(report.cost, report.chip, report.batch_a_chip)
    lines += [f"**{problem}**" for problem in problems(report)]
    text = f"### {report.place}\n\n" + "".join(f"- {line}\n" for line in lines)
    if report.cost is None:
        return text
    return f"{text}\n{memory_traffic.table(report.cost.places, report.batch_a_chip)}"


def _cost_lines(cost: Cost, chip: Chip, images: int) -> list[str]:
    best = roofline(cost.flops, cost.bytes_moved, chip)
    lines = [
        f"peak memory: {cost.peak_bytes / _GIB:.2f} GiB of {chip.memory_bytes / _GIB:.0f}; "
        f"state, batch and frozen networks {cost.argument_bytes / _GIB:.2f}, temporary "
        f"{cost.temporary_bytes / _GIB:.2f}",
    ]
    for per, divisor in (("per step and chip", 1), ("per image", images)):
        tflop, moved = cost.flops / divisor / 1e12, cost.bytes_moved / divisor / 1e9
        accessed = cost.bytes_accessed / divisor / 1e9
        lines.append(
            f"{tflop:.4g} TFLOP and {moved:.4g} GB {per}; with the memory on the chip "
            f"{accessed:.4g} GB"
        )
    lines.append(
        f"at the chip's peaks {best.seconds * 1e3:.1f} ms per step, {images / best.seconds:.1f} "
        f"images/s per chip, bound by {best.bound}"
    )
    kinds = [kind for kind in COLLECTIVES if kind in cost.traffic]
    found = {kind: cost.traffic[kind] for kind in kinds}
    if cost.between_slices.number:
        found["sent to other slices"] = cost.between_slices
    return lines + [
        f"{kind}: {traffic.number}, {traffic.bytes / 1e6:.2f} MB" for kind, traffic in found.items()
    ]
