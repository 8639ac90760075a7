"""Compiled programs on disk: where they lie, and that a second start loads them."""

import os
import subprocess
import sys

import jax
import pytest
from helpers import small
from helpers.program import ROOT, command, start
from PIL import Image

from scam_jax import models
from scam_jax.devices import agreement, compilation_cache, sharding
from scam_jax.inference import programs, release
from scam_jax.inference.release import Release
from scam_jax.training import state


@pytest.fixture
def updates(monkeypatch):
    """What the cache changes in JAX's configuration, without the change."""
    made = {}
    monkeypatch.setattr(jax.config, "update", made.__setitem__)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    return made


def test_the_default_is_a_folder_of_this_host_below_the_home(updates, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("platform.node", lambda: "host7")
    compilation_cache.use(None)
    assert updates["jax_compilation_cache_dir"] == str(tmp_path / ".cache" / "scam_jax" / "host7")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    compilation_cache.use(None)
    assert updates["jax_compilation_cache_dir"] == str(tmp_path / "cache" / "scam_jax" / "host7")


def test_the_environment_and_the_flag_say_otherwise(updates, monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "elsewhere"))
    compilation_cache.use(None)
    assert updates == {}
    compilation_cache.use(str(tmp_path / "given"))
    assert updates["jax_compilation_cache_dir"] == str(tmp_path / "given")
    updates.clear()
    compilation_cache.use("off")
    assert updates == {"jax_enable_compilation_cache": False}


def test_a_folder_that_cannot_be_written_is_left_alone(updates, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    compilation_cache.use(str(tmp_path / "file" / "cache"))
    assert updates == {"jax_enable_compilation_cache": False}
    assert "compiled programs are not kept" in caplog.text
    assert "--compilation_cache=DIR" in caplog.text


@pytest.mark.parametrize(
    ("others", "warning"),
    [
        ([True, True], ""),
        ([True, False], "not every process sees"),
        ([False], "not every process has a folder"),  # JAX would wait for the others for ever
    ],
)
def test_several_processes_use_a_folder_that_all_see(
    updates, monkeypatch, tmp_path, caplog, others, warning
):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(agreement, "of_first_process", list)
    monkeypatch.setattr(sharding, "wait_for_all", lambda name: None)
    monkeypatch.setattr(agreement, "everywhere", lambda holds: holds)
    compilation_cache.use(None)
    assert updates == {"jax_enable_compilation_cache": False}, "none by default"
    assert not caplog.text
    updates.clear()
    answers = iter(others)
    monkeypatch.setattr(agreement, "everywhere", lambda holds: holds and next(answers))
    compilation_cache.use(str(tmp_path / "given"))
    if not warning:
        assert updates["jax_compilation_cache_dir"] == str(tmp_path / "given")
    else:
        assert updates == {"jax_enable_compilation_cache": False}
        assert warning in caplog.text
    assert not [*tmp_path.glob("given/*")]


def test_what_is_chosen_holds_after_a_first_program(tmp_path):
    """Several processes compile to agree on the folder, before it is chosen."""
    program = """
import os, sys
import jax
from scam_jax.devices import compilation_cache

jax.jit(lambda x: x + 1)(1)
compilation_cache.use(sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.jit(lambda x: x + 2)(1)
print(len(os.listdir(sys.argv[1])))
compilation_cache.use("off")
jax.jit(lambda x: x + 3)(1)
print(len(os.listdir(sys.argv[1])))
"""
    first, given = tmp_path / "first", tmp_path / "given"
    changed = {
        "JAX_COMPILATION_CACHE_DIR": str(first),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
    }
    done = subprocess.run(
        [sys.executable, "-c", program, str(given)],
        **dict(env={**os.environ, **changed}, cwd=ROOT, capture_output=True, text=True),
    )
    assert done.returncode == 0, done.stderr
    kept, kept_after = map(int, done.stdout.split())
    assert kept > 0
    assert kept_after == kept
    assert [*first.iterdir()], "the environment's folder was in use before"


@pytest.mark.slow
def test_a_second_start_loads_its_programs_and_gives_the_same_pixels(tmp_path):
    config = small.config()
    networks = models.build(config)
    trained = Release(config, state.create(config, networks).eval_variables(), 3, ())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "export_programs", lambda *_: {})
        release.write(tmp_path / "release", networks, trained, {}, "")
    for name, mode in (("a.png", "RGB"), ("b.png", "L")):
        Image.new(mode, (16, 16), 1).save(tmp_path / name)
    pair = f"{tmp_path / 'a.png'},{tmp_path / 'b.png'}"
    kept, pictures = [], []
    for i in range(2):
        arguments = command(
            "--mode=reconstruct",
            f"--workdir={tmp_path / 'release'}",
            f"--target={pair}",
            f"--output={tmp_path / f'{i}.png'}",
            f"--compilation_cache={tmp_path / 'programs'}",
        )
        assert start(arguments).wait() == 0
        kept.append({f.name for f in (tmp_path / "programs").iterdir() if "atime" not in f.name})
        pictures.append((tmp_path / f"{i}.png").read_bytes())
    assert any("generate" in name for name in kept[0])
    assert kept[0] == kept[1]
    assert pictures[0] == pictures[1]
