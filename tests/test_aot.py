"""Compiling for a pod: what is read from compiled code, what is computed and said of it."""

import dataclasses
import importlib.util

import jax
import numpy as np
import pytest
from helpers import small

from scam_jax import models
from scam_jax.cost import aot, aot_report, chips
from scam_jax.cost.aot_report import Cost, Report, Traffic
from scam_jax.cost.memory_traffic import Place
from scam_jax.devices import sharding
from scam_jax.training import state

COMPILED = """
  %all-reduce.5 = (f32[152,256]{1,0:T(8,128)}, f32[]{:T(128)}, /*index=2*/bf16[3,3,19,8]{3,2,1,0:T(8,128)(2,1)}) all-reduce(%a, %b, /*index=2*/%c), channel_id=1, replica_groups={{0,1,2,3}}, to_apply=%region_1, metadata={op_name="jit(train_step)/psum"}
  %get-tuple-element.1 = f32[152,256]{1,0:T(8,128)} get-tuple-element(%all-reduce.5), index=0
  %all-reduce-start.2 = f32[1024]{0:T(1024)} all-reduce-start(%d), channel_id=2, to_apply=%region_2
  %all-reduce-done.2 = f32[1024]{0:T(1024)} all-reduce-done(%all-reduce-start.2)
  %all-gather-start = (bf16[8,16]{1,0}, bf16[64,16]{1,0}) all-gather-start(%e), dimensions={0}
  %all-gather-done = bf16[64,16]{1,0} all-gather-done(%all-gather-start)
  ROOT %reduce-scatter.1 = f32[16,4]{1,0} reduce-scatter(%f), dimensions={0}, to_apply=%region_1
  collective-permute-start = (s8[32]{0}, s8[32]{0}, u32[]{:S(2)}, u32[]{:S(2)}) collective-permute-start(%g)
  %fusion.3 = pred[8]{0} fusion(%all-reduce.5), kind=kLoop, calls=%all-reduce.fused
"""  # noqa: E501 as the compiler writes it


def report(**changes) -> Report:
    """Of a step that is fine, but for the changes to its cost."""
    config = small.config(train__batch_size=256)
    cost = Cost(
        peak_bytes=2**33,
        argument_bytes=2**31,
        temporary_bytes=2**32,
        flops=197e12,
        bytes_accessed=2e12,
        bytes_moved=819e8,
        traffic={"all-reduce": Traffic(3, 400_000_000)},
        between_slices=Traffic(0, 0),
        places={Place("SCAMGenerator", "block_1_mod_1", "backward", "copy"): 800_000_000},
    )
    chip = chips.CHIPS["TPU v5e"]
    return Report(config, "v5e:4x4", 1, chip, 16, 90.0, cost=Cost(**{**vars(cost), **changes}))


def too_big() -> Report:
    """Of a step that does not fit."""
    fine = report()
    return Report(
        fine.config, fine.topology, 1, fine.chip, 16, 9.0, cost=None, needs="20 of 16 GiB"
    )


def test_collectives_of_compiled_code():
    assert aot_report.traffic_of(COMPILED) == {
        "all-reduce": Traffic(2, 152 * 256 * 4 + 4 + 3 * 3 * 19 * 8 * 2 + 1024 * 4),
        "all-gather": Traffic(1, 64 * 16 * 2),
        "reduce-scatter": Traffic(1, 16 * 4 * 4),
        "collective-permute": Traffic(1, 32),
    }


# Two to another slice; the last send has no handler.
SENDS = """
  %send = (f32[64,8,128]{2,1,0:T(8,128)}, u32[], token[]) send(%fusion, %after-all), channel_id=2, is_host_transfer=true, frontend_attributes={_xla_host_transfer_handler_name="xla_megascale_runtime",_xla_host_transfer_rendezvous="psum.7_0"}
  %send-done = token[] send-done(%send), channel_id=2, is_host_transfer=true, frontend_attributes={_xla_host_transfer_handler_name="xla_megascale_runtime"}
  %recv = (f32[64,8,128]{2,1,0:T(8,128)}, u32[], token[]) recv(%after-all), channel_id=1, is_host_transfer=true, frontend_attributes={_xla_host_transfer_handler_name="xla_megascale_runtime"}
  ROOT %send.1 = (bf16[16]{0}, u32[], token[]) send(%fusion.1, %after-all.1), channel_id=4, is_host_transfer=true, frontend_attributes={_xla_host_transfer_handler_name="xla_megascale_runtime"}
  %send.2 = (f32[8]{0}, u32[], token[]) send(%fusion.2, %after-all.2), channel_id=5
"""  # noqa: E501 as the compiler writes it


def test_what_a_chip_sends_to_other_slices():
    assert aot_report.traffic_between_slices(SENDS) == Traffic(2, 64 * 8 * 128 * 4 + 16 * 2)
    assert aot_report.traffic_between_slices(COMPILED) == Traffic(0, 0)


def test_several_slices_in_a_report():
    """The sums of all slices are gathered within each; that is no problem there alone."""
    traffic = {"all-reduce": Traffic(2, 1), "all-gather": Traffic(2, 1)}
    one = report(traffic=traffic, between_slices=Traffic(2, 25_000_000))
    assert len(aot_report.problems(one)) == 1
    two = dataclasses.replace(one, slices=2)
    assert aot_report.problems(two) == []
    assert aot_report.row(two).startswith("| 2 × v5e:4x4 | 256 |")
    assert "- sent to other slices: 2, 25.00 MB" in aot_report.details(two)


def test_the_busier_of_compute_and_memory_bounds_a_step():
    chip = chips.Chip("slow", flops_per_second=100.0, bytes_per_second=10.0, memory_bytes=1.0)
    assert aot_report.roofline(300.0, 20.0, chip) == (3.0, "compute")
    assert aot_report.roofline(300.0, 50.0, chip) == (5.0, "memory")


def test_problems_of_a_step():
    assert aot_report.problems(report()) == []
    four = report(traffic={"all-reduce": Traffic(4, 1)})
    assert aot_report.problems(four) == ["4 all-reduces per step: at most 3 are needed"]
    gathers = report(traffic={"all-gather": Traffic(2, 1), "all-to-all": Traffic(1, 1)})
    assert [problem.split(":")[0] for problem in aot_report.problems(gathers)] == [
        "2 × all-gather",
        "1 × all-to-all",
    ]
    assert aot_report.problems(too_big()) == ["does not fit: needs 20 of 16 GiB"]


def test_batch_statistics_and_the_adaptive_weight_may_cross_devices():
    assert aot_report.allowed_all_reduces(small.config(model__generator__norm="batch")) is None
    assert aot_report.allowed_all_reduces(small.config(losses__adaptive_gan=True)) == 5


@pytest.mark.parametrize(
    "error",
    [
        "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO "
        "temporaries (19.00G) exceeds available HBM (15.75G).",
        "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space "
        "hbm. Used 19.00G of 15.75G hbm. Exceeded hbm capacity by 3.25G. Memory usage report:",
    ],
)
def test_too_little_memory_is_said_in_numbers(error):
    assert aot.memory_needed(error) == "at least 19.00 GiB of 15.75 GiB"


def test_too_little_memory_is_a_report_and_another_failure_an_error(monkeypatch):
    def fail(config, mesh):
        raise jax.errors.JaxRuntimeError(message)

    mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]), (sharding.DATA,))
    monkeypatch.setattr(aot, "topology_mesh", lambda name, slices: mesh)
    monkeypatch.setattr(chips, "CHIPS", {"cpu": chips.CHIPS["TPU v5e"]})
    monkeypatch.setattr(aot, "lower", fail)
    message = "RESOURCE_EXHAUSTED: Used 19.00G of 15.75G hbm."
    assert aot.compile_for(small.config(), "v5e:1x2").cost is None
    message = "INTERNAL: a bug"
    with pytest.raises(jax.errors.JaxRuntimeError, match="a bug"):
        aot.compile_for(small.config(), "v5e:1x2")


def test_reports_as_text():
    columns = aot_report.HEADER.splitlines()[0].count("|")
    for one in (report(), too_big()):
        assert aot_report.row(one).count("|") == columns
    assert aot_report.row(report()) == (
        "| v5e:4x4 | 256 | 16 | no | 8.0 of 16 | 12.312 | 5.12 | compute | 16.0 | 3, 400.0 |\n"
    )
    peaks = "at the chip's peaks 1000.0 ms per step, 16.0 images/s per chip"
    assert peaks in aot_report.details(report())
    copies = "| 50.0 | SCAMGenerator | block_1_mod_1 | backward | copy |"
    assert copies in aot_report.details(report())
    assert "- **does not fit: needs 20 of 16 GiB**" in aot_report.details(too_big())


def test_without_the_compiler_the_error_says_what_to_run(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ModuleNotFoundError, match=r"make pod-check.*jax\[tpu\]==" + jax.__version__
    ):
        aot.compile_for(small.config(), "v5e:4x4")


def test_an_unknown_topology_is_refused_by_name(monkeypatch):
    def refuse(*args, **options):
        raise jax.errors.JaxRuntimeError("INVALID_ARGUMENT: Invalid TPU external name: TPU v99")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(aot.topologies, "get_topology_desc", refuse)
    with pytest.raises(ValueError, match=r"topology 'v99:4x4': .*use one like v5e:4x4, "):
        aot.compile_for(small.config(), "v99:4x4")


def test_a_chip_without_known_peaks_is_refused():
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]), (sharding.DATA,))
    with pytest.raises(ValueError, match="the peaks of 'cpu' are not known"):
        aot.chip_of(mesh)


def test_the_compiled_step_is_the_one_that_trains():
    """For a mesh that is there: the shapes are the state's own, and only sums cross devices."""
    config = small.shallow()
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]), (sharding.DATA,))
    lowered = aot.lower(config, mesh)
    (train_state, batch, vgg), _ = lowered.in_avals
    real = state.create(config, models.build(config))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), train_state) == jax.tree.map(
        lambda x: (x.shape, x.dtype), real
    )
    assert batch["image"].shape == (config.train.batch_size, 16, 16, 3)
    assert vgg is None
    cost = aot.cost_of(lowered.compile(), parts=1)
    assert cost.flops > 0
    assert cost.peak_bytes > 0
    one = Report(config, "two CPUs", 1, chips.CHIPS["TPU v5e"], 2, 1.0, cost)
    assert [*cost.traffic] == ["all-reduce"]
    assert aot_report.problems(one) == []
