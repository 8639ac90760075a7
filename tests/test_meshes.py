"""The number of devices changes no result but in rounding."""

import dataclasses
import json

import jax
import pytest
from helpers import small
from helpers.closeness import assert_trees_close
from helpers.loop import run_loop

from scam_jax.devices import sharding


def config():
    """Noise, averaged weights, and statistics of the batch that have to cross devices.

    With a smaller eps, a gradient of almost 0 moves its weight by its sign: by chance.
    """
    return small.shallow(
        model__generator__norm="batch",
        model__discriminator__num_scales=1,
        train__batch_size=8,
        train__ema_decay=0.9,
        train__log_every=1,
        optimizer__eps=1e-3,
    )


def test_the_devices_of_a_process_are_neighbours(monkeypatch):
    """Devices of several hosts, in the order of a torus; `jax.make_mesh` refuses these."""

    @dataclasses.dataclass(frozen=True)
    class Device:
        process_index: int
        id: int
        slice_index: int
        platform: str = "cpu"
        device_kind: str = "cpu"

    of_two_hosts = [Device(1, 2, 1), Device(0, 1, 0), Device(1, 3, 1), Device(0, 0, 0)]
    monkeypatch.setattr(jax, "devices", lambda: of_two_hosts)
    mesh = sharding.make_mesh()
    assert [device.id for device in mesh.devices] == [0, 1, 2, 3]


def run_on(num_devices, folder, **options):
    """The last state of the run in `folder`."""
    return jax.device_get(run_loop(config(), folder, num_devices=num_devices, **options))


def assert_same_run(ours, theirs, ours_folder, theirs_folder):
    """Every step's metrics, and the last weights and statistics."""
    metrics = [
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (ours_folder, theirs_folder)
    ]
    for a, b in zip(*metrics, strict=True):
        assert a == pytest.approx(b, rel=2e-3, abs=1e-4)
    assert ours.step == theirs.step == 4
    assert_trees_close(ours.params, theirs.params, atol=2e-5)
    if ours.ema is not None:
        assert_trees_close(ours.ema, theirs.ema, atol=2e-5)
    assert_trees_close(ours.extra, theirs.extra, atol=1e-6, of_largest=1e-3)


@pytest.fixture(scope="module")
def on_eight(tmp_path_factory):
    """Four steps on eight devices: the last state and the run's folder."""
    folder = tmp_path_factory.mktemp("eight")
    return run_on(8, folder), folder


@pytest.mark.parametrize("num_devices", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_one_and_four_devices_equal_eight(on_eight, tmp_path, num_devices):
    last = run_on(num_devices, tmp_path)
    assert_same_run(last, on_eight[0], tmp_path, on_eight[1])
    statistics = jax.tree.leaves(last.extra["generator"]["batch_stats"])
    assert not all((s == 0).all() or (s == 1).all() for s in statistics), "they moved"


@pytest.mark.slow
def test_a_checkpoint_of_eight_devices_goes_on_on_four(on_eight, tmp_path):
    run_on(8, tmp_path, stop_requested=lambda step: step == 2)
    last = run_on(4, tmp_path)
    assert_same_run(last, on_eight[0], tmp_path, on_eight[1])


def test_a_baseline_on_two_devices_and_then_on_one(tmp_path):
    """Batch norm, spectral norm and the code's noise, stopped and gone on with."""
    baseline = small.config(
        "model=clade",
        losses__l1=10.0,
        train__log_every=1,
        optimizer__eps=1e-3,
        optimizer__b1=0.9,
    )
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    ours = jax.device_get(run_loop(baseline, whole, num_devices=1))
    run_loop(baseline, parts, num_devices=2, stop_requested=lambda step: step == 2)
    theirs = jax.device_get(run_loop(baseline, parts, num_devices=1))
    assert_same_run(ours, theirs, whole, parts)
    assert any(s.any() for s in jax.tree.leaves(ours.extra["discriminator"]["spectral"]))
