"""Where the bytes of compiled code are counted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from scam_jax.cost import memory_traffic
from scam_jax.cost.memory_traffic import Place

# Two blocks of a network, their backward pass, a copy, an optimizer's slice of a packed vector.
CODE = """HloModule jit_step, is_scheduled=true

%fused_conv (p0: bf16[16,8,8,4]) -> bf16[16,8,8,4] {
  %p0 = bf16[16,8,8,4]{3,2,1,0} parameter(0)
  %k = bf16[1,1,4,4]{3,2,1,0} constant({...})
  ROOT %c = bf16[16,8,8,4]{3,2,1,0} convolution(%p0, %k), window={size=1x1}, dim_labels=b01f_01io->b01f
}

%sliced (q0: f32[1000], q1: f32[10]) -> f32[10] {
  %q0 = f32[1000]{0} parameter(0)
  %q1 = f32[10]{0} parameter(1)
  %part = f32[10]{0} slice(%q0), slice={[0:10]}
  ROOT %sum = f32[10]{0} add(%part, %q1)
}

ENTRY %main (a: bf16[16,8,8,4], b: f32[1000], c: f32[10]) -> (bf16[16,8,8,4], f32[10]) {
  %a = bf16[16,8,8,4]{3,2,1,0} parameter(0)
  %b = f32[1000]{0} parameter(1)
  %c = f32[10]{0} parameter(2)
  %f = bf16[16,8,8,4]{3,2,1,0} fusion(%a), kind=kOutput, calls=%fused_conv, metadata={op_name="jit(step)/shard_map/jvp(Net)/Net._block/block_1/conv"}
  %t = bf16[16,8,8,4]{3,2,1,0:T(8,128)} copy(%f), metadata={op_name="jit(step)/shmap_body/transpose(jvp(Net))/block_2.look_up/mul"}
  %u = f32[10]{0} fusion(%b, %c), kind=kLoop, calls=%sliced, metadata={op_name="jit(step)/add"}
  ROOT %r = (bf16[16,8,8,4]{3,2,1,0:T(8,128)}, f32[10]{0}) tuple(%t, %u)
}
"""  # noqa: E501 as the compiler writes it
MAP = 16 * 8 * 8 * 4 * 2


def test_bytes_are_counted_where_they_are_moved():
    assert memory_traffic.bytes_by_place(CODE) == {
        Place("Net", "block_1", "forward", "convolution"): 2 * MAP,
        Place("Net", "block_2", "backward", "copy"): 2 * MAP,
        Place("", "add", "forward", "other"): 3 * 10 * 4,
    }


def test_table():
    text = memory_traffic.table(memory_traffic.bytes_by_place(CODE), images=16, count=2)
    assert text.splitlines()[2:4] == [
        "| 0.0 | Net | block_1 | forward | convolution |",
        "| 0.0 | Net | block_2 | backward | copy |",
    ]


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ("bf16[16,64]{1,0:T(8,128)}", 2048),
        ("(f32[2], pred[3])", 11),
        ("s32[]", 4),
        ("token[]", 0),
    ],
)
def test_sizes_of_shapes(shape, size):
    assert memory_traffic.size_in_bytes(shape) == memory_traffic.size_in_memory(shape) == size


def test_sizes_in_the_memory_on_the_chip_are_none_in_memory():
    shape = "(f32[2]{0}, bf16[16,64]{1,0:T(8,128)(2,1)S(1)}, pred[3])"
    assert memory_traffic.size_in_bytes(shape) == 11 + 2048
    assert memory_traffic.size_in_memory(shape) == 11


# A prefetch of a third of a kernel, a fusion that does not say where it is from, one that updates a
# part of a buffer in place.
ON_CHIP = """HloModule jit_step, is_scheduled=true

%fused (p0: f32[1,8]) -> bf16[1,8] {
  %p0 = f32[1,8]{1,0:S(1)} parameter(0)
  %m = f32[1,8]{1,0} multiply(%p0, %p0), metadata={op_name="transpose(jvp(jvp(Net.at_scale)))/scale_0/mul"}
  ROOT %c = bf16[1,8]{1,0} convert(%m), metadata={op_name="jit(step)/shard_map/convert"}
}

%updated (q0: f32[1000], q1: f32[10]) -> f32[1000] {
  %q0 = f32[1000]{0} parameter(0)
  %q1 = f32[10]{0} parameter(1)
  %zero = s32[] constant(0)
  ROOT %u = f32[1000]{0} dynamic-update-slice(%q0, %q1, %zero)
}

ENTRY %main (a: f32[3,8], b: f32[1000], c: f32[10]) -> bf16[1,8] {
  %a = f32[3,8]{1,0} parameter(0)
  %b = f32[1000]{0} parameter(1)
  %c = f32[10]{0} parameter(2)
  %s = ((f32[3,8]{1,0}), f32[1,8]{1,0:S(1)}, s32[]{:S(2)}) slice-start(%a), slice={[0:1], [0:8]}
  %d = f32[1,8]{1,0:S(1)} slice-done(%s)
  %v = f32[1000]{0} fusion(%b, %c), kind=kLoop, calls=%updated, metadata={op_name="jit(step)/stack"}
  ROOT %f = bf16[1,8]{1,0} fusion(%d), kind=kLoop, calls=%fused
}
"""  # noqa: E501 as the compiler writes it


def test_what_stays_on_the_chip_or_in_its_place_costs_nothing():
    assert memory_traffic.bytes_by_place(ON_CHIP) == {
        Place("", "stack", "forward", "other"): 2 * 10 * 4,
        Place("", "slice-start", "forward", "other"): 8 * 4,
        Place("Net", "scale_0", "backward", "other"): 8 * 2,
    }


def test_loops_count_as_often_as_they_run_and_of_branches_the_dearest():
    def program(x, flag):
        x = jax.lax.fori_loop(0, 7, lambda i, x: jnp.tanh(x @ x), x)
        return jax.lax.cond(flag, lambda x: jnp.sin(x @ x) @ x, lambda x: x, x)

    x = np.ones((256, 256), np.float32)
    compiled = jax.jit(program).lower(x, np.bool_(True)).compile()
    places = memory_traffic.bytes_by_place(compiled.as_text() or "")
    parts = {place.part for place in places}
    assert {"dot_general", "tanh", "sin"} <= parts
    assert not parts & {"while", "cond"}
    # A product moves three matrices, an elementwise function two.
    products = sum(size for place, size in places.items() if place.part == "dot_general")
    assert products == (7 + 2) * 3 * x.nbytes
    assert sum(places.values()) >= products + (7 + 1) * 2 * x.nbytes


# As the TPU's compiler writes a loop: it does not tell how often the body runs.
UNTOLD = """HloModule jit_f, is_scheduled=true

%body (p: (s32[], f32[100])) -> (s32[], f32[100]) {
  %p = (s32[]{:T(128)}, f32[100]{0}) parameter(0)
  %x = f32[100]{0} get-tuple-element(%p), index=1
  %y = f32[100]{0} tanh(%x), metadata={op_name="jit(f)/while/body/closed_call/tanh"}
  ROOT %t = (s32[]{:T(128)}, f32[100]{0}) tuple(%i, %y)
}

%goes_on (q: (s32[], f32[100])) -> pred[] {
  %seven = s32[]{:T(128)} constant(7)
  %q = (s32[]{:T(128)}, f32[100]{0}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%q), index=0
  ROOT %lt = pred[]{:T(512)} compare(%i, %seven), direction=LT
}

ENTRY %main (a: f32[100]) -> (s32[], f32[100]) {
  %a = f32[100]{0} parameter(0)
  %zero = s32[]{:T(128)} constant(0)
  %b = (s32[]{:T(128)}, f32[100]{0}) tuple(%zero, %a)
  ROOT %w = (s32[]{:T(128)}, f32[100]{0}) while(%b), condition=%goes_on, body=%body
}
"""


def test_a_loop_whose_trips_are_not_told():
    assert memory_traffic.bytes_by_place(UNTOLD) == {
        Place("", "tanh", "forward", "other"): 7 * 2 * 100 * 4
    }


def test_of_a_network_that_is_compiled_here():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(64, name="second")(nn.tanh(nn.Dense(64, name="first")(x)))

    def loss(params, x):
        return jnp.square(Net().apply(params, x)).sum()

    x = np.ones((128, 64), np.float32)
    params = Net().init(jax.random.key(0), x)
    compiled = jax.jit(jax.grad(loss)).lower(params, x).compile()
    places = memory_traffic.bytes_by_place(compiled.as_text() or "")
    found = {(place.module, place.part, place.direction) for place in places}
    assert {("Net", "first", "forward"), ("Net", "second", "backward")} <= found
    assert sum(places.values()) >= 128 * 64 * 4 * 4
