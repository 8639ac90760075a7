"""Where a compiled step's bytes go: its instructions' operands and results, by module and block."""

import collections
import re
from collections.abc import Mapping
from typing import NamedTuple

# They move no bytes, or name the bytes of other instructions.
_FREE = re.compile(
    "parameter|constant|bitcast|tuple|get-tuple-element|opt-barrier|iota|after-all|partition-id|"
    "while|conditional|call|copy-done|all-reduce-done"
)
_ENTRY = "ENTRY"
_SLICES = frozenset({"slice", "dynamic-slice", "gather"})
_INSTRUCTION = re.compile(
    r"^\s*(?:ROOT )?%?(?P<name>[\w.\-]+) = (?P<shape>\(.*?\)|\S+) (?P<code>[\w\-]+)\((?P<rest>.*)$"
)
_ARRAY = re.compile(r"\b(?P<type>pred|[a-z]+(?P<bits>\d+)\w*)\[(?P<sizes>[\d,]*)\]")
_OPERAND = re.compile(r"%([\w.\-]+)")
_CALLED = re.compile(r"calls=%?([\w.\-]+)")
_PLACE = re.compile(r'op_name="jit\(\w+\)/(?:(?:shmap_body|shard_map)/)?(?P<path>[^"]*)"')
_MODULE = re.compile(r"jvp\((\w+)\)")


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
    """Returns the total size of all arrays in a shape, such as 'bf16[16,64]{1,0}' or a tuple."""
    total = 0
    for match in _ARRAY.finditer(shape):
        elements = 1
        for size in filter(None, match["sizes"].split(",")):
            elements *= int(size)
        total += elements * int(match["bits"] or 8) // 8
    return total


def bytes_by_place(compiled_text: str) -> dict[Place, int]:
    """Counts the bytes that the entry computation's instructions read and write.

    Instructions within loops and branches are not counted. The operands of a fusion count whole,
    but for those that it only slices.

    Args:
      compiled_text: the code, `compiled.as_text()`.

    Returns:
      Bytes by place, the largest first.
    """
    computations = _computations(compiled_text)
    lines = computations[_ENTRY]
    sizes: dict[str, int] = {}
    counted: collections.Counter[Place] = collections.Counter()
    for line in lines:
        match = _INSTRUCTION.match(line)
        if match is None:
            continue
        sizes[match["name"]] = size_in_bytes(match["shape"])
        if _FREE.fullmatch(match["code"]):
            continue
        called = _CALLED.search(line)
        inside = computations.get(called[1], []) if called else []
        operands = _OPERAND.findall(match["rest"].split("), ")[0])
        read = sum(_read(sizes.get(name, 0), i, inside) for i, name in enumerate(operands))
        counted[_place(line, match, inside)] += read + sizes[match["name"]]
    return dict(counted.most_common())


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
    name = re.escape(given.split(" = ")[0].split("%")[-1].strip())
    users = [line for line in inside if re.search(rf"\(.*%{name}[,)]", line)]
    matches = [match for line in users if (match := _INSTRUCTION.match(line))]
    if not matches or any(match["code"] not in _SLICES for match in matches):
        return size
    return min(size, sum(size_in_bytes(match["shape"]) for match in matches))


def _place(line: str, match: re.Match, inside: list[str]) -> Place:
    path = (found := _PLACE.search(line)) and found["path"].split("/")
    kind = _kind(match, inside)
    if not path:
        return Place("", match["code"], "forward", kind)
    direction = "backward" if path[0].startswith("transpose(") else "forward"
    module = _MODULE.search(path[0])
    if module is None:
        return Place("", path[0].split("(")[0], direction, kind)
    parts = [part for part in path[1:-1] if not part.startswith(f"{module[1]}.")]
    return Place(module[1], parts[0].split(".")[0] if parts else "", direction, kind)


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
        f"{copies / images / 1e6:.1f} MB of them copies. Operands of fusions count whole, so that "
        "this may be above the compiler's total, most of all for updates of small kernels.\n"
    )
