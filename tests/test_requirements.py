"""Every package that the code imports is declared: pinned for `make`, with a range for pip."""

import ast
import importlib.metadata
import pathlib
import re
import sys
import tomllib
from collections.abc import Iterable

import pytest

import scam_jax

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = ("scam_jax", "data", "configs", "tests", "benchmarks")
# Only the scripts that write golden numbers import these. They are run by hand.
GOLDEN_MAKERS = {"torchvision", "torch-fidelity", "cleanfid", "lpips", "fastreid"}


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _names(requirements: Iterable[str]) -> set[str]:
    """Distribution names of requirement lines such as `etils[epath]>=1.9 # why`."""
    matches = (re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", line) for line in requirements)
    return {_normalized(match.group()) for match in matches if match}


def _imports(file: pathlib.Path) -> set[str]:
    """Top-level modules that a file imports, also inside functions."""
    modules = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules.add(node.module.partition(".")[0])
    return modules


@pytest.fixture(scope="module")
def imported() -> dict[str, set[str]]:
    """The distributions that each third-party module may come from."""
    files = [ROOT / "main.py", *(f for name in FOLDERS for f in (ROOT / name).rglob("*.py"))]
    local = {"main", "helpers", "chaos", *FOLDERS, *(f.stem for f in (ROOT / "tests").glob("*.py"))}
    modules = set().union(*map(_imports, files)) - local - sys.stdlib_module_names
    installed = importlib.metadata.packages_distributions()
    return {m: {_normalized(name) for name in installed.get(m, [m])} for m in modules}


def _undeclared(imported: dict[str, set[str]], declared: set[str]) -> list[str]:
    return sorted(module for module, names in imported.items() if not names & declared)


def test_requirements_pin_all_that_is_imported(imported):
    pinned = _names((ROOT / "requirements.txt").read_text().splitlines())
    # Only the conversion of PyTorch checkpoints needs torch, which would double the installation.
    browser = _names((ROOT / "requirements-browser.txt").read_text().splitlines())
    assert _undeclared(imported, pinned | browser | GOLDEN_MAKERS | {"torch"}) == []


def test_the_package_declares_all_that_is_imported(imported):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    declared = set().union(*map(_names, groups))
    assert _undeclared(imported, declared | GOLDEN_MAKERS) == []


def test_only_exact_versions_are_pinned():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [line for line in pins if not re.fullmatch(r"[\w.-]+(\[\w+\])?==[\w.]+", line)] == []


def test_pre_commit_runs_the_pinned_ruff():
    (version,) = re.findall(r"ruff==(\S+)", (ROOT / "requirements.txt").read_text())
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"ruff-pre-commit\n +rev: v(\S+)", hooks) == [version]


def test_one_version():
    (version,) = re.findall(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.M)
    assert version == scam_jax.__version__
    assert f"## {version} " in (ROOT / "CHANGELOG.md").read_text()
