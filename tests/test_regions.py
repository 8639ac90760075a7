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


# Few pixels are multiplied densely; 3001 of 9 labels go into tiles on a CPU.
PLACES = {"few pixels": (4, 50), "tiles": (9, 3001)}


@pytest.mark.parametrize("place", PLACES)
def test_products_by_label(place):
    num_labels, pixels = PLACES[place]
    labels = label_maps(num_labels, pixels)
    found = regions.find_regions(labels, num_labels)
    assert (found.tiles is not None) == (place == "tiles")
    x = normal(BATCH, pixels, CHANNELS)
    table = normal(BATCH, num_labels, SLOTS, CHANNELS, seed=2)
    formulas.assert_products(found, labels, x, table)
    assert np.isneginf(formulas.product("highest", found, x, table)[0, 1]).all()


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
    found = regions.find_regions(labels, num_labels)
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

    def gradients(function):
        def loss(*operands):
            out = function(*operands)
            return sum(jnp.sum(y * normal(*y.shape, seed=y.ndim)) for y in out)

        return jax.grad(loss, range(len(operands)))(*operands)

    assert_trees_close(ours(*operands), plain(*operands), of_largest=1e-5)
    assert_trees_close(gradients(ours), gradients(plain), of_largest=1e-5)


@pytest.mark.parametrize("place", PLACES)
def test_gradients_of_attention_by_label(place):
    """Of a label without pixels, one with a single pixel, and many."""
    num_labels, pixels = PLACES[place]
    layout = LatentLayout(num_labels, latents_per_label=2, background_latents=3)
    labels = label_maps(num_labels, pixels)
    found = regions.find_regions(labels, num_labels)
    module = attention.MaskedAttention(8)
    latents, features = normal(BATCH, len(layout.owners), 6), normal(BATCH, pixels, 4, seed=1)
    owners = np.broadcast_to(layout.owners, (BATCH, len(layout.owners)))

    def gradients(arguments, to, from_):
        """Of the parameters and both inputs, by label and masked."""
        mask = attention.same_label(*arguments["labels"])
        variables = filled(module.init(jax.random.key(0), to, from_, mask))

        def loss(attend):
            def of(variables, to, from_):
                out = attend(variables, to, from_)
                return jnp.sum(out * normal(*out.shape, seed=5))

            return jax.grad(of, (0, 1, 2))(variables, to, from_)

        by_mask = loss(lambda v, to, from_: module.apply(v, to, from_, mask))
        by_label = loss(lambda v, to, from_: arguments["by_label"](v, to, from_))
        return by_label, by_mask

    gather = dict(
        labels=(owners, labels),
        by_label=lambda v, to, from_: module.apply(v, to, from_, found, layout, method="gather"),
    )
    assert_trees_close(*gradients(gather, latents, features), atol=1e-4, of_largest=1e-4)
    identity = np.eye(4, dtype=np.float32), np.zeros(4, np.float32)
    look_up = dict(
        labels=(labels, owners),
        by_label=lambda v, to, from_: module.apply(
            v, to, from_, found, layout, [identity], method="look_up"
        )[0],
    )
    assert_trees_close(*gradients(look_up, features, latents), atol=1e-4, of_largest=1e-4)


@pytest.mark.parametrize("num_heads", [1, 2])
@pytest.mark.parametrize("place", PLACES)
def test_attention_by_label_equals_masked_attention(place, num_heads):
    """Either direction, with more latents for the background; label 1 has no pixels."""
    num_labels, pixels = PLACES[place]
    layout = LatentLayout(num_labels, latents_per_label=2, background_latents=3)
    labels = label_maps(num_labels, pixels)
    found = regions.find_regions(labels, num_labels)
    module = attention.MaskedAttention(8, num_heads)
    latents, features = normal(BATCH, len(layout.owners), 6), normal(BATCH, pixels, 4, seed=1)
    then = normal(4, 7, seed=2), normal(7, seed=3)

    def plain(to, from_, to_labels, from_labels):
        mask = attention.same_label(jnp.asarray(to_labels), jnp.asarray(from_labels))
        return module.init_with_output(jax.random.key(0), to, from_, mask)

    owners = np.broadcast_to(layout.owners, (BATCH, len(layout.owners)))
    expected, variables = plain(latents, features, owners, labels)
    variables = filled(variables)
    expected = module.apply(variables, latents, features, attention.same_label(owners, labels))
    gathered = module.apply(variables, latents, features, found, layout, method="gather")
    assert_close(gathered, expected, atol=1e-5)

    _, variables = plain(features, latents, labels, owners)
    variables = filled(variables)
    mask = attention.same_label(labels, owners)
    expected = module.apply(variables, features, latents, mask) @ then[0] + then[1]
    args = features, latents, found, layout, [then]
    looked_up = module.apply(variables, *args, method="look_up")[0]
    assert_close(looked_up, expected, atol=2e-5)


def filled(variables):
    """The variables with random values: a new module's are declared only."""
    return jax.tree.map(lambda x: normal(*x.shape, seed=x.size) * 0.5, variables)


def test_latents_of_one_label_attend_to_each_other_alone():
    layout = LatentLayout(4, latents_per_label=2, background_latents=3)
    module = attention.MaskedAttention(8, 2)
    latents = normal(BATCH, len(layout.owners), 6)
    mask = attention.same_label(layout.owners[None], layout.owners[None])
    mask = np.broadcast_to(mask, (BATCH, *mask.shape[1:]))
    variables = filled(module.init(jax.random.key(0), latents, latents, mask))
    among = module.apply(variables, latents, layout, method="among_latents")
    assert_close(among, module.apply(variables, latents, latents, mask), atol=1e-5)


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
    found = regions.find_regions(labels, 9)
    module = attention.MaskedAttention(8)
    latents, features = normal(BATCH, 18, 6) * 40, normal(BATCH, 3001, 4, seed=1) * 40
    owners = np.broadcast_to(layout.owners, (BATCH, 18))
    mask = attention.same_label(owners, labels)
    variables = filled(module.init(jax.random.key(0), latents, features, mask))
    gathered = module.apply(variables, latents, features, found, layout, method="gather")
    assert_close(gathered, module.apply(variables, latents, features, mask), of_largest=1e-5)
