"""Pixels meet the latents of their own label, however it is computed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import formulas
from helpers.closeness import assert_close, assert_trees_close

from scam_jax.models.scam import attention, region_products, regions
from scam_jax.models.scam.latent_layout import LatentLayout

BATCH, CHANNELS, SLOTS = 2, 5, 3


def label_maps(num_labels: int, pixels: int) -> np.ndarray:
    """Label 1 is nowhere; the second example is all of the last label but for one pixel."""
    labels = np.random.default_rng(0).choice(np.delete(np.arange(num_labels), 1), (BATCH, pixels))
    labels[1] = num_labels - 1
    labels[1, 7] = 0
    return labels.astype(np.int32)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


found_regions = jax.jit(regions.find_regions, static_argnums=1)

# Few pixels are multiplied densely; 3001 of 9 labels go into tiles on a CPU.
PLACES = {"few pixels": (4, 50), "tiles": (9, 3001)}


@pytest.mark.parametrize("place", PLACES)
def test_products_by_label(place):
    num_labels, pixels = PLACES[place]
    labels = label_maps(num_labels, pixels)
    found = found_regions(labels, num_labels)
    assert (found.tiles is not None) == (place == "tiles")
    x = normal(BATCH, pixels, CHANNELS)
    table = normal(BATCH, num_labels, SLOTS, CHANNELS, seed=2)
    formulas.assert_products(found, labels, x, table)
    assert np.isneginf(formulas.products(found, x, table)["highest"][0, 1]).all()


@pytest.mark.parametrize(
    ("name", "place", "num_heads"),
    [
        ("mix", "few pixels", 1),
        ("mix", "tiles", 2),
        ("collect", "few pixels", 1),
        ("collect", "tiles", 1),
    ],
)
def test_gradients_are_those_of_the_formulas(name, place, num_heads):
    """The formulas of attention, differentiated by JAX instead of by hand."""
    num_labels, pixels = PLACES[place]
    labels = label_maps(num_labels, pixels)
    found = found_regions(labels, num_labels)
    one_hot = np.eye(num_labels, dtype=np.float32)[labels]
    slots = 3 * num_heads
    x = normal(BATCH, pixels, CHANNELS)
    keys = normal(BATCH, num_labels, slots, CHANNELS, seed=1)
    constant = normal(BATCH, num_labels, slots, seed=2)
    tables = [normal(BATCH, num_labels, slots, width, seed=width) for width in (4, 7)]

    def own(table):  # [B, P, K, ...]
        return jnp.einsum("bpl,bl...->bp...", one_hot, table)

    def plain_mix(x, keys, constant, *tables):
        logits = jnp.einsum("bpc,bpkc->bpk", x, own(keys)) + own(constant)
        per_head = logits.reshape(BATCH, pixels, -1, num_heads)
        weights = jax.nn.softmax(per_head, axis=2).reshape(logits.shape)
        return [jnp.einsum("bpk,bpke->bpe", weights, own(table)) for table in tables]

    def plain_collect(x, keys):
        logits = jnp.einsum("bpc,bpkc->bpk", x, own(keys))
        tops = jnp.where(one_hot[..., None] > 0, logits[:, :, None], -jnp.inf).max(1)
        tops = jax.lax.stop_gradient(jnp.where(jnp.isfinite(tops), tops, 0))
        weights = jnp.exp(logits - own(tops))
        sums = jnp.einsum("bpl,bpk,bpc->blkc", one_hot, weights, x)
        return sums, jnp.einsum("bpl,bpk->blk", one_hot, weights)

    ours, plain, operands = {
        "mix": (
            lambda *rows: region_products.mix(found, num_heads, *rows[:3], [*rows[3:]]),
            plain_mix,
            (x, keys, constant, *tables),
        ),
        "collect": (lambda *rows: region_products.collect(found, *rows), plain_collect, (x, keys)),
    }[name]

    def with_gradients(function):
        def loss(*operands):
            out = function(*operands)
            return sum(jnp.sum(y * normal(*y.shape, seed=y.ndim)) for y in out)

        gradients = jax.grad(loss, range(len(operands)))
        return jax.jit(lambda *operands: (function(*operands), gradients(*operands)))(*operands)

    assert_trees_close(with_gradients(ours), with_gradients(plain), of_largest=1e-5)


def variables_of(module, to, from_):
    """A module's variables with random values: a new module's are declared only."""
    everywhere = np.ones((1, 1, 1), bool)
    shapes = jax.eval_shape(module.init, jax.random.key(0), to, from_, everywhere)
    return jax.tree.map(lambda x: normal(*x.shape, seed=x.size) * 0.5, shapes)


def gathering(module, layout, labels, found):
    """What latents gather from pixels, by label and masked: of variables, latents and pixels."""

    def by_label(variables, latents, pixels):
        return module.apply(variables, latents, pixels, found, layout, method="gather")

    def by_mask(variables, latents, pixels):
        mask = attention.same_label(layout.owners[None], labels)
        return module.apply(variables, latents, pixels, mask)

    return by_label, by_mask


def looking_up(module, layout, labels, found, then):
    """What pixels look up in latents, by label and masked: of variables, pixels and latents."""

    def by_label(variables, pixels, latents):
        args = variables, pixels, latents, found, layout, [then]
        return module.apply(*args, method="look_up")[0]

    def by_mask(variables, pixels, latents):
        mask = attention.same_label(labels, layout.owners[None])
        return module.apply(variables, pixels, latents, mask) @ then[0] + then[1]

    return by_label, by_mask


def evaluated(functions, *args):
    """The results of functions of the same arguments."""
    return jax.jit(lambda *args: [function(*args) for function in functions])(*args)


@pytest.mark.parametrize("place", PLACES)
def test_gradients_of_attention_by_label(place):
    """Of the parameters and both inputs; of a label without pixels, one with one, and many."""
    num_labels, pixels = PLACES[place]
    layout = LatentLayout(num_labels, latents_per_label=2, background_latents=3)
    labels = label_maps(num_labels, pixels)
    module = attention.MaskedAttention(8)
    of = module, layout, labels, found_regions(labels, num_labels)
    latents, features = normal(BATCH, len(layout.owners), 6), normal(BATCH, pixels, 4, seed=1)

    def gradients(functions, to, from_):
        def gradient_of(function):
            def loss(*args):
                out = function(*args)
                return jnp.sum(out * normal(*out.shape, seed=5))

            return jax.grad(loss, (0, 1, 2))

        args = variables_of(module, to, from_), to, from_
        return evaluated([gradient_of(function) for function in functions], *args)

    gathered = gradients(gathering(*of), latents, features)
    assert_trees_close(*gathered, atol=1e-4, of_largest=1e-4)
    identity = np.eye(4, dtype=np.float32), np.zeros(4, np.float32)
    looked_up = gradients(looking_up(*of, identity), features, latents)
    assert_trees_close(*looked_up, atol=1e-4, of_largest=1e-4)


@pytest.mark.parametrize("num_heads", [1, 2])
@pytest.mark.parametrize("place", PLACES)
def test_attention_by_label_equals_masked_attention(place, num_heads):
    """Either direction, with more latents for the background; label 1 has no pixels."""
    num_labels, pixels = PLACES[place]
    layout = LatentLayout(num_labels, latents_per_label=2, background_latents=3)
    labels = label_maps(num_labels, pixels)
    module = attention.MaskedAttention(8, num_heads)
    of = module, layout, labels, found_regions(labels, num_labels)
    latents, features = normal(BATCH, len(layout.owners), 6), normal(BATCH, pixels, 4, seed=1)
    then = normal(4, 7, seed=2), normal(7, seed=3)

    args = variables_of(module, latents, features), latents, features
    assert_close(*evaluated(gathering(*of), *args), atol=1e-5)
    args = variables_of(module, features, latents), features, latents
    assert_close(*evaluated(looking_up(*of, then), *args), atol=2e-5)


def test_latents_of_one_label_attend_to_each_other_alone():
    layout = LatentLayout(4, latents_per_label=2, background_latents=3)
    module = attention.MaskedAttention(8, 2)
    latents = normal(BATCH, len(layout.owners), 6)

    def by_label(variables, latents):
        return module.apply(variables, latents, layout, method="among_latents")

    def by_mask(variables, latents):
        mask = attention.same_label(layout.owners[None], layout.owners[None])
        return module.apply(variables, latents, latents, mask)

    variables = variables_of(module, latents, latents)
    assert_close(*evaluated([by_label, by_mask], variables, latents), atol=1e-5)


@pytest.mark.parametrize("background", [1, 2, 5])
def test_slots_and_back(background):
    layout = LatentLayout(3, latents_per_label=2, background_latents=background)
    latents = normal(BATCH, len(layout.owners), 4)
    slots = layout.to_slots(latents)
    assert slots.shape == (BATCH, 3, max(2, background), 4)
    np.testing.assert_array_equal(layout.from_slots(slots), latents)
    np.testing.assert_array_equal(slots[:, 0, :background], latents[:, :background])
    np.testing.assert_array_equal(slots[:, 2, :2], latents[:, -2:])


def test_softmax_survives_large_logits():
    """Logits far beyond exp's range, of both signs."""
    layout = LatentLayout(9, 2, 2)
    labels = label_maps(9, 3001)
    module = attention.MaskedAttention(8)
    latents, features = normal(BATCH, 18, 6) * 40, normal(BATCH, 3001, 4, seed=1) * 40
    functions = gathering(module, layout, labels, found_regions(labels, 9))
    args = variables_of(module, latents, features), latents, features
    assert_close(*evaluated(functions, *args), of_largest=1e-5)
