"""A release: a trained model in a folder that others can hold, check and run.

weights.safetensors  encoder and generator
parser.safetensors   what draws label maps, if the run has it
config.json          the config; under 'release', the step and the names of the labels
label_colors.txt     the colours of label maps, if these have colours
examples/         pictures to try it with, see `release_examples`
programs/*.bin       encode, generate and transfer, see `programs`
run_exported.py      transfers without this package
MODEL_CARD.md        what the model is; also as README.md, which the Hugging Face hub shows
SHA256SUMS           a digest of every file: `sha256sum -c SHA256SUMS` checks them
"""

import hashlib
import importlib.resources
import operator
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from etils import epath
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict
from safetensors import SafetensorError
from safetensors.flax import load as load_bytes
from safetensors.flax import load_file, save

from scam_jax import buckets, files
from scam_jax.examples import Example
from scam_jax.inference import generation, programs, release_examples
from scam_jax.inference.parsing import PhotoParser
from scam_jax.models import Networks
from scam_jax.runs import run_folder

WEIGHTS, SUMS = "weights.safetensors", "SHA256SUMS"
CARDS = ("MODEL_CARD.md", "README.md")
PARSER = "parser.safetensors"
# In these values, the config of the parser may differ from the model's.
_OF_PARSER = ("parser.features", "data.augmentation")
_REMEDY = "fetch the release again"


class Release(NamedTuple):
    """What a release holds.

    Attributes:
      config: the config.
      variables: `{'encoder': ..., 'generator': ...}`, each with all collections, float32.
      step: training step of the variables.
      label_names: names of the labels, empty if unknown.
      parser: what draws label maps, or None.
    """

    config: ConfigDict
    variables: generation.Variables
    step: int
    label_names: Sequence[str]
    parser: PhotoParser | None = None


def is_release(folder: epath.Path) -> bool:
    """Returns whether a folder is meant to be a release, sound or not."""
    return (folder / WEIGHTS).is_file() or (folder / SUMS).is_file()


def load(folder: epath.Path) -> Release:
    """Reads a release, without its parser.

    Raises:
      FileNotFoundError: a file is missing.
      ValueError: a file is not the one that was released; names it.
    """
    _check_config(folder)
    _check(folder, WEIGHTS)
    about = files.read_json(folder / run_folder.CONFIG_FILE, _REMEDY).get(run_folder.RELEASE)
    if about is None:
        raise ValueError(
            f"{folder / run_folder.CONFIG_FILE} has no entry {run_folder.RELEASE!r}: the folder is "
            "a release of another project"
        )
    config = run_folder.load_config(folder)
    variables = programs.variables_of(_load(folder / WEIGHTS))
    return Release(config, variables, about["step"], about["label_names"])


def load_parser(folder: epath.Path) -> PhotoParser | None:
    """Reads the parser of a release, None if it has none; raises the same errors as `load`."""
    _check_config(folder)
    about = files.read_json(folder / run_folder.CONFIG_FILE, _REMEDY)[run_folder.RELEASE]
    if not about.get("parser"):
        return None
    _check(folder, PARSER)
    config = run_folder.load_config(folder)
    config.update_from_flattened_dict(about["parser"])
    variables = programs.variables_of(_load(folder / PARSER))
    return PhotoParser(config, variables, about["label_names"])


def _check_config(folder: epath.Path) -> None:
    colors = [run_folder.COLORS_FILE] if run_folder.COLORS_FILE in _sums(folder) else []
    _check(folder, run_folder.CONFIG_FILE, *colors)


def _check(folder: epath.Path, *names: str) -> None:
    """Checks that files are those that were released."""
    sums = _sums(folder)
    for name in names:
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name} is missing: {_REMEDY}")
        if name not in sums:
            raise ValueError(f"{folder / SUMS} does not list {name}: {_REMEDY}")
        if _digest(folder / name) != sums[name]:
            raise ValueError(
                f"{folder / name} is not the file that was released, by its SHA-256: {_REMEDY}"
            )


def _load(file: epath.Path) -> dict[str, Any]:
    try:
        return load_bytes(file.read_bytes()) if buckets.is_in_bucket(file) else load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file}: {error}: {_REMEDY}") from error


def write(
    folder: pathlib.Path,
    networks: Networks,
    release: Release,
    facts: Mapping[str, Any],
    card: str,
    dtype: str = "float32",
    examples: Sequence[Example] = (),
) -> None:
    """Writes a release. The folder appears when it is whole; an older release is replaced.

    Args:
      folder: the folder.
      networks: the model's networks.
      release: what it holds.
      facts: further entries of config.json about the release.
      card: the model card, Markdown.
      dtype: type of the weights, 'float32' or 'bfloat16'. Statistics stay float32.
      examples: pictures to try the model with, see `release_examples`.

    Raises:
      OSError: the disk is full.
    """
    data = release.config.data
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    older = beside.with_suffix(".old")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        weights = _weights(release.variables, dtype)
        (beside / "programs").mkdir(parents=True)
        files.write(beside / WEIGHTS, save(weights, {"format": "flax"}))
        size = (data.height, data.width)
        exported = programs.export_programs(networks, weights, size, data.num_labels)
        for name, program in exported.items():
            (beside / "programs" / f"{name}.bin").write_bytes(program)
        about = {"step": release.step, "label_names": [*release.label_names], "dtype": dtype}
        if release.parser is not None:
            parameters = flatten_dict(dict(release.parser.params), sep=".")
            written = {name: jnp.asarray(x, dtype) for name, x in parameters.items()}
            files.write(beside / PARSER, save(written, {"format": "flax"}))
            about["parser"] = {
                key: operator.attrgetter(key)(release.parser.config) for key in _OF_PARSER
            }
        config = {**_portable(release.config), run_folder.RELEASE: {**about, **facts}}
        files.write_json(beside / run_folder.CONFIG_FILE, config)
        if data.get("colors"):  # runs of older versions lack the key
            colors = buckets.path(data.colors).read_bytes()
            files.write(beside / run_folder.COLORS_FILE, colors)
        release_examples.write(beside, examples, data)
        script = importlib.resources.files("scam_jax.inference") / "run_exported.py"
        (beside / "run_exported.py").write_bytes(script.read_bytes())
        for name in CARDS:
            (beside / name).write_text(card, encoding="utf-8")
        _write_sums(beside)
        if folder.exists():
            folder.rename(older)
        beside.rename(folder)
        shutil.rmtree(older, ignore_errors=True)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def check_output(folder: pathlib.Path) -> None:
    """Checks, before the work, that a release can be written; raises ValueError if not."""
    if folder.is_file():
        raise ValueError(f"--output={folder} is a file: give a new folder")
    sums = _sums(folder) if (folder / SUMS).is_file() else {}
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder)
        if not file.is_file() or name.as_posix() == SUMS or "__pycache__" in name.parts:
            continue
        if name.as_posix() not in sums:
            raise ValueError(
                f"--output={folder} holds other files, such as {name}: give a new folder"
            )
        if _digest(file) != sums[name.as_posix()]:
            raise ValueError(
                f"--output={folder} holds {name}, which was changed since: give a new folder"
            )
    files.check_writable("--output", folder.absolute().parent)


def _weights(variables: generation.Variables, dtype: str) -> dict[str, Any]:
    """Returns the weights by dotted name; only parameters take the type."""
    return {
        name: jnp.asarray(x, dtype if ".params." in name else x.dtype)
        for name, x in flatten_dict(dict(variables), sep=".").items()
    }


def _portable(config: ConfigDict) -> dict[str, Any]:
    """Returns a config without the places of the machine that it was trained on."""
    portable = config.copy_and_resolve_references()
    portable.update_from_flattened_dict(run_folder.PLACES)
    return portable.to_dict()


def _write_sums(folder: pathlib.Path) -> None:
    names = sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file())
    lines = [f"{_digest(folder / name)}  {name}\n" for name in names]
    (folder / SUMS).write_text("".join(lines))


def _sums(folder: epath.Path) -> dict[str, str]:
    """Returns the SHA-256 of the files by their names."""
    file = folder / SUMS
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing, so the release cannot be checked: {_REMEDY}")
    lines = file.read_bytes().decode(errors="replace").splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _digest(file: epath.Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
