"""Where a compiled step's bytes go: its instructions' operands and results, by module and block."""

import collections
import math
import re
from collections.abc import Mapping
from typing import NamedTuple

# They move no bytes, or name the bytes of other instructions.
_FREE = re.compile(
    "parameter|constant|bitcast|tuple|get-tuple-element|opt-barrier|iota|after-all|partition-id|"
    "while|conditional|call|copy-done|slice-done|all-reduce-done"
)
_BITCAST = 'custom_call_target="ConcatBitcast"'
# What follows an array that lies in a TPU's memory on the chip, which costs no traffic.
_ON_CHIP = re.compile(r"\{[^}]*S\(1\)[^}]*\}")
_ENTRY = "ENTRY"
_ASYNCHRONOUS = frozenset({"copy-start", "slice-start"})
_UPDATE = "dynamic-update-slice"
_SLICES = frozenset({"slice", "dynamic-slice", "gather"})
_INSTRUCTION = re.compile(
    r"^\s*(?:ROOT )?%?(?P<name>[\w.\-]+) = (?P<shape>\(.*?\)|\S+) (?P<code>[\w\-]+)\((?P<rest>.*)$"
)
_ARRAY = re.compile(r"\b(?P<type>pred|[a-z]+(?P<bits>\d+)\w*)\[(?P<sizes>[\d,]*)\]")
_OPERAND = re.compile(r"%([\w.\-]+)")
_CALLED = re.compile(r"calls=%?([\w.\-]+)")
_PLACE = re.compile(
    r'op_name="(?:(?:jit\(\w+\)|shmap_body|shard_map|cond|branch_\d+_fun|while|body|closed_call)/)*'
    r'(?P<path>[^"]*)"'
)
# The computations that an instruction runs: the branches of a conditional, or the body of a loop.
_BRANCHES = re.compile(r"branch_computations=\{[^}]*\}|(?:true|false)_computation=%[\w.\-]+")
_BODY = re.compile(r"(?:body|to_apply)=%?([\w.\-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_CONDITION = re.compile(r"condition=%?([\w.\-]+)")
_LIMIT = re.compile(r"= s32\[\]\S* constant\((\d+)\)")
# A network, and the method that was called: jvp(Net), transpose(jvp(jvp(Net.at_scale))).
_MODULE = re.compile(r"jvp\((\w+)(?:\.\w+)?\)")


class Place(NamedTuple):
    """What an instruction belongs to.

    Attributes:
      module: the network, such as 'SCAMGenerator'; empty for losses, optimizers and the like.
      part: the part of the network, such as 'block_5_mod_1', or the operation outside a network.
      direction: 'forward' or 'backward'.
      kind: 'convolution', 'copy' or 'other'.
    """

    module: str
    part: str
    direction: str
    kind: str


def size_in_bytes(shape: str) -> int:
    """Returns the size of all arrays in a shape, such as 'bf16[16,64]{1,0}' or a tuple."""
    return sum(map(_size, _ARRAY.finditer(shape)))


def size_in_memory(shape: str) -> int:
    """Returns the size of the arrays that do not lie in a TPU's memory on the chip."""
    arrays = _ARRAY.finditer(shape)
    return sum(_size(match) for match in arrays if not _ON_CHIP.match(shape, match.end()))


def _size(array: re.Match) -> int:
    elements = math.prod(int(size) for size in array["sizes"].split(",") if size)
    return elements * int(array["bits"] or 8) // 8


def bytes_by_place(compiled_text: str) -> dict[Place, int]:
    """Counts the bytes that a program's instructions read from and write to memory.

    Of several branches, the one that moves most counts. The body of a loop counts as often as it
    runs, or once if the compiler does not tell. The operands of a fusion count whole, but for those
    that it only slices.

    Args:
      compiled_text: the code, `compiled.as_text()`.

    Returns:
      Bytes by place, the largest first.
    """
    return dict(_counted(_ENTRY, _computations(compiled_text)).most_common())


def _counted(computation: str, computations: Mapping[str, list[str]]) -> collections.Counter[Place]:
    """Counts the bytes that a computation moves."""
    sizes: dict[str, int] = {}
    counted: collections.Counter[Place] = collections.Counter()
    for line in computations[computation]:
        match = _INSTRUCTION.match(line)
        if match is None:
            continue
        sizes[match["name"]] = size_in_memory(match["shape"])
        counted += _within(line, match["code"], computations)
        if _FREE.fullmatch(match["code"]) or _BITCAST in line:
            continue
        called = _CALLED.search(line)
        inside = computations.get(called[1], []) if called else []
        operands = _OPERAND.findall(match["rest"].split("), ")[0])
        read = sum(_read(sizes.get(name, 0), i, inside) for i, name in enumerate(operands))
        written = _written(sizes[match["name"]], inside)
        counted[_place(line, match, inside)] += (
            _moved(match) if match["code"] in _ASYNCHRONOUS else read + written
        )
    return counted


def _within(
    line: str, code: str, computations: Mapping[str, list[str]]
) -> collections.Counter[Place]:
    """Counts the bytes that the branches or the body of an instruction move."""
    if code == "conditional":
        names = [name for found in _BRANCHES.findall(line) for name in _OPERAND.findall(found)]
        return max((_counted(name, computations) for name in names), key=lambda c: c.total())
    if code in ("while", "call") and (body := _BODY.search(line)):
        once, trips = _counted(body[1], computations), _trips(line, computations)
        return collections.Counter({place: size * trips for place, size in once.items()})
    return collections.Counter()


def _trips(line: str, computations: Mapping[str, list[str]]) -> int:
    """Returns how often a loop runs: what the compiler tells, or up to what JAX counts from 0."""
    if told := _TRIPS.search(line):
        return int(told[1])
    condition = _CONDITION.search(line)
    inside = computations.get(condition[1], []) if condition else []
    limits = [int(found[1]) for each in inside if (found := _LIMIT.search(each))]
    counts_up = any("ROOT" in each and "direction=LT" in each for each in inside)
    return limits[0] if counts_up and len(limits) == 1 else 1


def _computations(compiled_text: str) -> Mapping[str, list[str]]:
    """Returns the lines of each computation, by name."""
    found: dict[str, list[str]] = {_ENTRY: []}
    lines: list[str] = []
    for line in compiled_text.splitlines():
        if line.endswith("{") and not line.startswith(" "):
            name = _ENTRY if line.startswith(_ENTRY) else line.split(" ")[0].lstrip("%")
            lines = found.setdefault(name, [])
        else:
            lines.append(line)
    return found


def _read(size: int, number: int, inside: list[str]) -> int:
    """Returns the bytes that a fusion reads of its operand of a size."""
    given = next((line for line in inside if f" parameter({number})" in line), None)
    if given is None:
        return size
    name = given.split(" = ")[0].split("%")[-1].strip()
    users = [line for line in inside if re.search(rf"\(.*%{re.escape(name)}[,)]", line)]
    matches = [match for line in users if (match := _INSTRUCTION.match(line))]
    # A buffer that is updated in its place is not read.
    updated = [
        m for m in matches if m["code"] == _UPDATE and _OPERAND.findall(m["rest"])[0] == name
    ]
    sliced = [match for match in matches if match["code"] in _SLICES]
    if not matches or len(updated) + len(sliced) < len(matches):
        return size
    return min(size, sum(size_in_memory(match["shape"]) for match in sliced))


def _written(size: int, inside: list[str]) -> int:
    """Returns the bytes that a fusion writes of its result: a part that it updates, or all."""
    root = next((line for line in inside if line.lstrip().startswith("ROOT")), "")
    match = _INSTRUCTION.match(root)
    if match is None or match["code"] != _UPDATE:
        return size
    update = re.escape(_OPERAND.findall(match["rest"])[1])
    given = next((line for line in inside if re.search(rf"%{update} = ", line)), "")
    found = _INSTRUCTION.match(given)
    return min(size, size_in_memory(found["shape"])) if found else size


def _moved(match: re.Match) -> int:
    """Returns the bytes that an asynchronous copy or slice reads and writes."""
    arrays = [*_ARRAY.finditer(match["shape"])]
    smallest = min(map(_size, arrays[:2]))
    on_chip = [bool(_ON_CHIP.match(match["shape"], array.end())) for array in arrays[:2]]
    return smallest * on_chip.count(False)


def _place(line: str, match: re.Match, inside: list[str]) -> Place:
    path, kind = _path(line, inside), _kind(match, inside)
    if not path:
        return Place("", match["code"], "forward", kind)
    direction = "backward" if "transpose(" in path[0] else "forward"
    module = _MODULE.search(path[0])
    if module is None:
        return Place("", path[0].split("(")[0], direction, kind)
    parts = [part for part in path[1:-1] if not part.startswith(f"{module[1]}.")]
    return Place(module[1], parts[0].split(".")[0] if parts else "", direction, kind)


def _path(line: str, inside: list[str]) -> list[str]:
    """Returns where an instruction is from, or the largest one of a fusion that does not say."""
    if own := _PLACE.search(line):
        return own["path"].split("/")
    sizes: collections.Counter[str] = collections.Counter()
    for each in inside:
        if (found := _PLACE.search(each)) and (match := _INSTRUCTION.match(each)):
            # What belongs to a network says more than a sum of gradients beside it.
            of_network = bool(_MODULE.search(found["path"]))
            sizes[found["path"]] = max(
                sizes[found["path"]], of_network * 2**50 + size_in_bytes(match["shape"])
            )
    return sizes.most_common(1)[0][0].split("/") if sizes else []


def _kind(match: re.Match, inside: list[str]) -> str:
    if match["code"] == "convolution" or any(" convolution(" in each for each in inside):
        return "convolution"
    is_copy = match["code"] in ("copy", "copy-start", "transpose") or re.match(
        r"(copy|transpose)[\w.\-]*fusion", match["name"]
    )
    return "copy" if is_copy else "other"


def table(places: Mapping[Place, int], images: int, count: int = 25) -> str:
    """Returns a Markdown table of the places that move most.

    Args:
      places: bytes by place.
      images: number of images of the step on one chip.
      count: number of rows.
    """
    total = sum(places.values())
    text = "| MB per image | network | part | direction | kind |\n|---|---|---|---|---|\n"
    for place, size in [*places.items()][:count]:
        text += f"| {size / images / 1e6:.1f} | {' | '.join(place)} |\n"
    copies = sum(size for place, size in places.items() if place.kind == "copy")
    return (
        f"{text}\nCounted: {total / images / 1e9:.2f} GB per image, "
        f"{copies / images / 1e6:.1f} MB of them copies. What stays in the memory on the chip does "
        "not count; the compiler's total counts it.\n"
    )
