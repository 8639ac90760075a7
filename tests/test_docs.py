"""The documentation names what exists: links, files, modules, commands, flags and config keys."""

import importlib
import pathlib
import re

import pytest
from absl import flags

from configs import common
from scam_jax import models

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
)
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
# Python modules of others that the documentation runs.
MODULES_OF_OTHERS = {"pytest", "mypy", "ruff", "venv", "build"}


def read(page: str) -> str:
    return (ROOT / page).read_text()


def slugs(page: str) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    found: dict[str, int] = {}
    anchors = set()
    for heading in re.findall(r"^#+ (.+)$", FENCED.sub("", read(page)), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        count = found.get(slug, 0)
        found[slug] = count + 1
        anchors.add(f"{slug}-{count}" if count else slug)
    return anchors


def commands(page: str) -> list[tuple[str, list[str]]]:
    """Each `python …` command of a page: its program, 'main.py' or a module, and its flags."""
    text = re.sub(r"\\\n\s*", "", read(page))
    found = re.findall(r"python(?:3[\d.]*)? (?:-m )?([\w./]+)([^\n`|)]*)", text)
    return [
        (program, re.findall(r"--([\w.]+)", rest.partition(" #")[0]))
        for program, rest in found
        if program == "main.py" or f"-m {program}" in text
    ]


def source_of(program: str) -> pathlib.Path | None:
    path = ROOT / program.removesuffix(".py").replace(".", "/")
    candidates = [path.with_suffix(".py"), path / "__main__.py"]
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def all_configs():
    """Every file of configs/, and every model and discriminator."""
    for path in sorted((ROOT / "configs").glob("*.py")):
        module = importlib.import_module(f"configs.{path.stem}")
        if hasattr(module, "get_config"):
            yield module.get_config()
    yield from (common.base(f"model={name}") for name in models.FAMILIES)
    yield from (common.base(f"discriminator={name}") for name in models.DISCRIMINATORS)


@pytest.fixture(scope="module")
def keys() -> set[str]:
    """Every key of every config, dotted; groups of keys, too."""

    def names(tree, prefix=""):
        for key, value in tree.items():
            yield f"{prefix}{key}"
            if isinstance(value, dict):
                yield from names(value, f"{prefix}{key}.")

    return {name for config in all_configs() for name in names(config.to_dict())}


@pytest.mark.parametrize("page", PAGES)
def test_links(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", read(page))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page} links to {link}"
        assert target.resolve().is_relative_to(ROOT), f"{page} links to {link}"
        if anchor:
            name = target.resolve().relative_to(ROOT).as_posix()
            assert anchor in slugs(name), f"{page} links to {link}"


@pytest.mark.parametrize("page", PAGES)
def test_commands(page):
    for program, names in commands(page):
        source = source_of(program)
        if source is None:
            assert program in MODULES_OF_OTHERS, f"{page} runs {program}"
            continue
        text = source.read_text()
        if "command_line." in text:  # its --config is defined there
            text += (ROOT / "scam_jax/runs/command_line.py").read_text()
        for name in names:
            known = name.split(".")[0] if name.startswith("config") else name
            assert f'"{known}"' in text or f'"--{known}"' in text, f"{page}: {program} --{name}"


@pytest.mark.parametrize("page", PAGES)
def test_make_targets(page):
    targets = set(re.findall(r"^([a-z][\w-]*):", read("Makefile"), re.MULTILINE))
    named = set(re.findall(r"(?:^ *|`)make ([a-z][\w-]*)", read(page), re.MULTILINE))
    assert named <= targets, f"{page} names targets that the Makefile lacks"


@pytest.mark.parametrize("page", PAGES)
def test_config_keys(page, keys):
    text = read(page)
    flagged = re.findall(r"--config\.([a-z_0-9.]+)", text)
    named = re.findall(r"`(?:--)?config\.([a-z_0-9.]+)", text)
    for key in {key.rstrip(".") for key in flagged + named} - {"json"}:
        assert key in keys, f"{page} names config.{key}"


@pytest.mark.parametrize("page", PAGES)
def test_config_files(page):
    for name, choices in re.findall(r"--config=configs/(\w+)\.py(?::([\w=,]+))?", read(page)):
        if name == "NAME":
            continue
        module = importlib.import_module(f"configs.{name}")
        try:
            module.get_config(choices)
        except flags.IllegalFlagValueError as error:
            pytest.fail(f"{page}: {error}")


def test_readme_is_short():
    assert len(read("README.md").splitlines()) <= 150


def files_named() -> set[str]:
    """The files in the tables of docs/architecture.md, each below the heading of its folder."""
    text = read("docs/architecture.md")
    found = set()
    for folder, section in re.findall(r"^### `(.+?)`$(.*?)(?=^##|\Z)", text, re.DOTALL | re.M):
        cells = re.findall(r"^\|([^|]*)\|", section, re.MULTILINE)
        names = [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]
        found |= {(pathlib.PurePosixPath(folder) / name).as_posix() for name in names}
        found.add(pathlib.PurePosixPath(folder).as_posix())
    return found


def test_architecture_names_what_exists():
    text = read("docs/architecture.md")
    pattern = r"(?<![\w./-])(?:scam_jax|data|configs|benchmarks|tests|docs)/[\w./]*"
    for name in files_named() | {path.rstrip(".") for path in re.findall(pattern, text)}:
        assert (ROOT / name).exists(), f"docs/architecture.md names {name}"


def test_architecture_names_every_module():
    modules = {
        path.relative_to(ROOT).as_posix()
        for folder in ("scam_jax", "data", "configs", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "__init__.py"
    }
    missing = sorted(modules - files_named())
    assert not missing, f"docs/architecture.md does not name {', '.join(missing)}"
    folders = {pathlib.PurePosixPath(module).parent.as_posix() for module in modules}
    missing = sorted(folders - files_named())
    assert not missing, f"docs/architecture.md has no heading for {', '.join(missing)}"
