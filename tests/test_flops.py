"""Model FLOPs utilization: what is counted, and what the loop reports of it."""

import time

import pytest
from helpers import small
from helpers.loop import mesh_of

from scam_jax.cost import chips, flops, utilization
from scam_jax.devices import sharding
from scam_jax.training import meter
from scam_jax.training.ledger import Ledger

CHIP = chips.Chip("a CPU", flops_per_second=1e12, bytes_per_second=1e9, memory_bytes=1e9)


def counted(config):
    return flops.model_flops(config, "cpu")(config.train.num_steps)


@pytest.fixture(scope="module")
def seconds():
    """Maps a step of the shallow model to its seconds at the peak of two devices."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chips, "CHIPS", {"cpu": CHIP})
        return utilization.seconds_at_peak(small.shallow(), mesh_of(2))


def test_what_saves_memory_does_not_count(seconds):
    """Neither a second computation nor the parts of a batch, of which XLA would count one."""
    count = seconds(1) * CHIP.flops_per_second * 2
    thrifty = small.shallow(train__rematerialize=True, train__accumulation_steps=2)
    assert counted(thrifty) == pytest.approx(count, rel=1e-12)
    assert counted(small.shallow(train__batch_size=8)) == pytest.approx(2 * count, rel=0.1)


def test_what_not_every_step_does_counts_when_it_is_done(monkeypatch):
    """R1 is added every few steps, and the discriminator's losses begin late."""

    def counted(config, *_):
        return 100.0 + 40.0 * (config.losses.gan > 0) + 20.0 * (config.losses.r1 > 0)

    monkeypatch.setattr(flops, "_counted", counted)
    late = small.shallow(schedules={"gan": {"start": 0.0, "steps": 3}})
    of_step = flops.model_flops(late, "cpu")
    assert [of_step(step) for step in (1, 3, 4)] == [100, 100, 140]
    regularized = small.shallow(losses__r1=1.0, losses__lazy_r1_step=10)
    assert flops.model_flops(regularized, "cpu")(1) == 142


def test_the_share_of_all_devices_peak_is_reported(seconds):
    """From the speed that is reported with it."""
    config, mesh = small.shallow(), mesh_of(2)
    progress = meter.Meter(config, mesh, None, None, None, Ledger(), 0, seconds, "")
    progress.since = time.perf_counter() - 0.5
    for steps in (1, 3):
        timings = progress._timings(progress.step_at_since + steps)
        seconds_a_step = config.train.batch_size / timings["time/images_per_second"]
        expected = seconds(1) / seconds_a_step
        assert timings["time/model_flops_utilization"] == pytest.approx(expected)


def test_no_share_is_reported_of_a_peak_that_is_not_known():
    config, mesh = small.shallow(), sharding.make_mesh()
    seconds = utilization.seconds_at_peak(config, mesh)
    progress = meter.Meter(config, mesh, None, None, None, Ledger(), 0, seconds, "")
    progress.since = 0.0
    assert "time/model_flops_utilization" not in progress._timings(1)


@pytest.mark.parametrize(
    ("kind", "tflops"),
    [("TPU v5 lite", 197), ("TPU v5", 459), ("TPU v6 lite", 918), ("NVIDIA H200", 989)],
)
def test_chips_are_known_by_the_names_that_jax_gives_them(kind, tflops):
    class Device:
        device_kind = kind

    assert chips.of_device(Device).flops_per_second == tflops * 1e12
