"""The floors of the house: imports only go down, as docs/architecture.md draws them."""

import ast
import graphlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# By floor, from the ground: a room imports from lower floors, and its equals where no circle comes
# of it.
FLOORS = (
    ("scam_jax", "scam_jax.compiler_faults", "scam_jax.host_memory"),
    (
        "scam_jax.models",
        "scam_jax.devices",
        "scam_jax.images",
        "scam_jax.examples",
        "scam_jax.files",
        "scam_jax.buckets",
        "scam_jax.bucket_file_system",
        "scam_jax.console",
    ),
    ("scam_jax.training",),
    ("scam_jax.runs",),
    ("scam_jax.cost", "scam_jax.weights", "scam_jax.inference"),
    ("configs", "data", "scam_jax.evaluation"),
    ("scam_jax.report", "scam_jax.studio", "benchmarks"),
    ("scam_jax.commands",),
    ("main",),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
MOST_LINES = 320
# The front door imports the trained model when it is asked for it.
FRONT_DOOR = ("scam_jax", "scam_jax.inference.model")


def _modules(*folders):
    """Files by the name of their module."""
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    parts = [(file, file.relative_to(ROOT).with_suffix("").parts) for file in files]
    return {".".join(p[:-1] if p[-1] == "__init__" else p): file for file, p in parts}


MODULES = _modules("scam_jax", "data", "configs", "benchmarks") | {"main": ROOT / "main.py"}


def imports_of(file):
    """Every module that a file imports, at its head or within a function."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            for name in node.names:
                full = f"{node.module}.{name.name}"
                yield full if full in MODULES else node.module


def room_of(module):
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "scam_jax" else parts[0]


GRAPH = {
    module: {
        other
        for other in imports_of(file)
        if other in MODULES and other != module and (module, other) != FRONT_DOOR
    }
    for module, file in MODULES.items()
}


def test_every_module_has_a_floor():
    assert not {room_of(module) for module in MODULES} ^ FLOOR_OF.keys()


@pytest.mark.parametrize("module", GRAPH)
def test_imports_go_down(module):
    floor = FLOOR_OF[room_of(module)]
    upward = [other for other in GRAPH[module] if FLOOR_OF[room_of(other)] > floor]
    assert not upward, f"{module} imports upward: {', '.join(upward)}"


def test_neither_rooms_nor_modules_import_in_a_circle():
    graphlib.TopologicalSorter(GRAPH).prepare()
    rooms = {room: set() for room in FLOOR_OF}
    for module, others in GRAPH.items():
        rooms[room_of(module)] |= {room_of(other) for other in others} - {room_of(module)}
    graphlib.TopologicalSorter(rooms).prepare()


def test_models_import_only_models():
    for module in GRAPH:
        if room_of(module) == "scam_jax.models":
            assert all(room_of(other) == "scam_jax.models" for other in GRAPH[module]), module


def test_the_package_imports_neither_data_nor_configs():
    for module in GRAPH:
        if module.split(".")[0] == "scam_jax":
            assert not {room_of(other) for other in GRAPH[module]} & {"data", "configs"}, module


def test_no_test_imports_another():
    for file in (ROOT / "tests").rglob("*.py"):
        tests = [name for name in imports_of(file) if name.split(".")[-1].startswith("test_")]
        assert not tests, f"{file} imports {tests}"


def test_files_are_one_idea_long():
    long = {m: len(file.read_text().splitlines()) for m, file in MODULES.items()}
    assert not {m: lines for m, lines in long.items() if lines > MOST_LINES}
