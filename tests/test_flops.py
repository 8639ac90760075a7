"""Model FLOPs utilization: what is counted, and what the loop reports of it."""

import pytest
from helpers import small
from helpers.loop import mesh_of

from scam_jax.cost import chips, flops, utilization
from scam_jax.devices import sharding
from scam_jax.training import loop, meter
from scam_jax.training.checkpoints import Checkpoints
from scam_jax.training.ledger import Ledger
from scam_jax.training.step import step_compiler

CHIP = chips.Chip("a CPU", flops_per_second=1e12, bytes_per_second=1e9, memory_bytes=1e9)


def counted(config):
    return flops.model_flops(config, "cpu")(config.train.num_steps)


class Timings:
    """A writer that keeps the timings."""

    def __init__(self):
        self.reports = []

    def timings(self, step, values):
        self.reports.append(values)

    def scalars(self, step, values):
        pass

    def close(self):
        pass


def run(config, workdir, num_devices):
    """The timings that a run on so many devices reports."""

    def batches_from(step):
        while True:
            yield small.batch(config, step)
            step += 1

    writer, checkpoints = Timings(), Checkpoints(workdir)
    mesh = mesh_of(num_devices)
    loop.train(
        config,
        loop.restore_or_create(config, mesh, checkpoints),
        mesh=mesh,
        compile_step=step_compiler(config, mesh),
        batches_from=batches_from,
        checkpoints=checkpoints,
        writer_from=lambda step: writer,
        seconds_at_peak=utilization.seconds_at_peak(config, mesh),
    )
    checkpoints.close()
    return writer.reports


@pytest.fixture(scope="module")
def count():
    """The operations of a step of the shallow model."""
    return counted(small.shallow())


def test_what_saves_memory_does_not_count(count):
    """Neither a second computation nor the parts of a batch, of which XLA would count one."""
    thrifty = small.shallow(train__rematerialize=True, train__accumulation_steps=2)
    assert counted(thrifty) == count
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


@pytest.mark.slow
def test_the_loop_reports_the_share_of_all_devices_peak(count, monkeypatch, tmp_path):
    config = small.shallow()
    monkeypatch.setattr(chips, "CHIPS", {"cpu": CHIP})
    reports = run(config, tmp_path, num_devices=2)
    assert len(reports) == 2
    for timings in reports:
        seconds_a_step = config.train.batch_size / timings["time/images_per_second"]
        expected = count / (seconds_a_step * CHIP.flops_per_second * 2)
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
