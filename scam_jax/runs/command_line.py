"""Configs on command lines: a file or a run, and flags that override its values.

`--config=FILE[:CHOICES]` names a config file. Without it, `--workdir=RUN` gives the config of the
run. Flags such as --config.train.batch_size=64 override values of either.
"""

import contextlib
import difflib
import importlib.util
import pathlib
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from absl import flags
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict, config_flags

from scam_jax import console
from scam_jax.runs import run_folder

_OVERRIDE = re.compile(r"--?(?:no)?config\.([^=]+)")


class CommandLine(NamedTuple):
    """A parsed command line.

    Attributes:
      config: the config with its overrides, or None if neither a file nor a run gives one.
      file: the value of --config, or None.
      rest: the other arguments, without the program.
    """

    config: ConfigDict | None
    file: str | None
    rest: list[str]


def parse(argv: Sequence[str]) -> CommandLine:
    """Parses a command line. A wrong flag, key or value ends the program with one line."""
    with _ended_by_one_line(argv[0]):
        given = _take_config(argv)
        return given._replace(rest=flags.FLAGS([argv[0], *given.rest])[1:])


def take_config(argv: Sequence[str]) -> CommandLine:
    """Takes a config and its overrides out of a command line, for programs with a parser.

    A wrong key or value ends the program with one line. `rest` is all other arguments.
    """
    with _ended_by_one_line(argv[0]):
        return _take_config(argv)


@contextlib.contextmanager
def _ended_by_one_line(program: str) -> Iterator[None]:
    try:
        yield
    except (flags.Error, OSError, ValueError) as error:
        sys.exit(f"{program}: {' '.join(str(error).split()).removeprefix('flag ')}")


def _take_config(argv: Sequence[str]) -> CommandLine:
    file, others = _without(argv, "config")
    workdir, _ = _without(argv, "workdir")
    config = None
    if file is not None:
        config = load(file)
    elif workdir:
        folder = run_folder.place_or_bucket("--workdir", workdir)
        if (folder / run_folder.CONFIG_FILE).is_file():
            config = run_folder.load_config(folder)
    overrides = [match[0] for match in map(_OVERRIDE.match, others) if match]
    if config is None and overrides:
        raise ValueError(f"{overrides[0]}: give --config=FILE or --workdir=RUN, whose key it is")
    if config is not None:
        _check_keys(overrides, config)
        values = flags.FlagValues()
        values.set_gnu_getopt()  # flags may follow other arguments
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=others)
        others = values(others, known_only=True)
        config = values.config
    return CommandLine(config, file, others[1:])


def _without(argv: Sequence[str], name: str) -> tuple[str | None, list[str]]:
    """Takes a flag out of a command line; returns its last value, or None, and the rest."""
    value, others, arguments = None, [], iter(argv)
    for argument in arguments:
        if argument in (f"--{name}", f"-{name}"):
            value = next(arguments, "")
        elif argument.startswith((f"--{name}=", f"-{name}=")):
            value = argument.partition("=")[2]
        else:
            others.append(argument)
    return value, others


def _check_keys(overrides: Iterable[str], config: ConfigDict) -> None:
    keys = flatten_dict(config.to_dict(), sep=".", keep_empty_nodes=True)
    for override in overrides:
        key = override.partition(".")[2]
        if key in keys or any(k.startswith(f"{key}.") for k in keys):
            continue
        raise ValueError(f"{override}: the config has no such key{_nearest(key, keys)}")


def _nearest(word: str, words: Iterable[str], prefix: str = "--config.") -> str:
    found = difflib.get_close_matches(word, [*words], n=1, cutoff=0.5)
    return f"; the nearest is {prefix}{found[0]}" if found else ""


def load(value: str) -> ConfigDict:
    """Loads a config from a file.

    Args:
      value: FILE, or FILE:CHOICES, whose choices are handed to the file's `get_config`.

    Raises:
      ValueError: there is no such file, or it fails; names the file and its line.
      IllegalFlagValueError: there is no such choice.
    """
    name, _, choices = value.partition(":")
    file = console.path(name)
    if not file.is_file():
        beside = [str(other) for other in sorted(file.parent.glob("*.py"))]
        raise ValueError(f"--config={value}: there is no such file{_nearest(name, beside, '')}")
    if file.suffix != ".py":
        raise ValueError(f"--config={value}: a config is a Python file, such as configs/faces.py")
    spec = importlib.util.spec_from_file_location(f"config_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ValueError(f"--config={value}: cannot be imported")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config(*([choices] if choices else []))
    except flags.Error:
        raise
    except Exception as error:  # The file is a user's program.
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if pathlib.Path(frame.filename) == file]
        line = error.lineno if isinstance(error, SyntaxError) else (lines[-1] if lines else 1)
        raise ValueError(
            f"--config={value}: {file}, line {line}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(config, ConfigDict):
        raise ValueError(f"--config={value}: get_config returns no ConfigDict")
    return config.lock()
