"""AdamW and Muon: what an update is, and what a state keeps when the schedule changes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import small
from helpers.closeness import assert_trees_close

from scam_jax.training import optimizers

SCHEDULE = optax.ScaleByScheduleState


def params():
    random = np.random.default_rng(0)
    shapes = {"linear": (16, 24), "stack": (3, 16, 24), "conv": (3, 3, 16, 24), "thin": (16, 3)}
    return {
        name: {
            "kernel": jnp.asarray(random.normal(size=shape), jnp.float32),
            "bias": jnp.asarray(random.normal(size=shape[-1:]), jnp.float32),
        }
        for name, shape in shapes.items()
    }


def optimizer(**changes):
    config = small.config()
    config.optimizer.weight_decay = 0.0
    config.optimizer.update(changes)
    return optimizers.of_sides(config)["generator"]


def updates(which, tree):
    gradients = jax.tree.map(lambda p: jnp.sin(7 * p), tree)
    return which.update(gradients, which.init(tree), tree)[0]


@pytest.mark.parametrize("name", ["linear", "stack", "conv"])
def test_muon_moves_kernels_along_orthogonal_matrices(name):
    update = updates(optimizer(kind="muon", generator_learning_rate=1e-3), params())[name]["kernel"]
    matrices = update.reshape(3 if name == "stack" else 1, -1, 24)
    for matrix in np.asarray(matrices):
        values = np.linalg.svd(matrix, compute_uv=False)
        # Newton and Schulz's five steps bring singular values to 0.7 … 1.2 times their aim.
        assert values.min() > 0.6 * values.max()
    assert jnp.sqrt(jnp.square(update).mean()) == pytest.approx(1e-3, rel=0.25)


def test_muon_leaves_thin_kernels_and_biases_to_adam():
    tree = params()
    muon = updates(optimizer(kind="muon", generator_learning_rate=1e-3, b1=0.5), tree)
    adam = updates(optax.nadam(1e-3, b1=0.5), tree)
    assert_trees_close(muon["thin"], adam["thin"], atol=1e-8)
    assert_trees_close(muon["conv"]["bias"], adam["conv"]["bias"], atol=1e-8)
    assert not np.allclose(muon["conv"]["kernel"], adam["conv"]["kernel"], atol=1e-4)


@pytest.mark.parametrize("kind", sorted(optimizers.KINDS))
def test_moments_survive_a_new_schedule(kind):
    tree, step = params(), jnp.asarray(5, jnp.int32)
    before, after = optimizer(kind=kind), optimizer(kind=kind, warmup_steps=10, decay="cosine")
    saved = before.update(jax.tree.map(jnp.cos, tree), before.init(tree), tree)[1]
    adapted = optimizers.adapted(after, tree, saved, step)
    assert jax.tree.structure(adapted) == jax.tree.structure(after.init(tree))
    kept = dict(jax.tree_util.tree_flatten_with_path(adapted)[0])
    for path, leaf in jax.tree_util.tree_flatten_with_path(saved)[0]:
        np.testing.assert_array_equal(kept[path], leaf)
    schedules = [
        node.count
        for node in jax.tree.leaves(adapted, is_leaf=lambda x: isinstance(x, SCHEDULE))
        if isinstance(node, SCHEDULE)
    ]
    assert schedules
    assert all(count == 5 for count in schedules)


def test_another_kind_starts_afresh():
    tree, step = params(), jnp.asarray(5, jnp.int32)
    before, after = optimizer(kind="adamw"), optimizer(kind="muon")
    saved = before.update(jax.tree.map(jnp.cos, tree), before.init(tree), tree)[1]
    assert_trees_close(optimizers.adapted(after, tree, saved, step), after.init(tree), atol=0)
