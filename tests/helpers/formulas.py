"""The products of a space, evaluated as attention does: the space is that of the platform."""

import jax
import numpy as np

from helpers.closeness import assert_close
from scam_jax.models.scam import region_products


def _weights(space, x, table):
    return 1 + space.scores(space.enter(x), table)


FORMULAS = {
    "scores": lambda space, x, table: space.leave(_weights(space, x, table)),
    "mix": lambda space, x, table: space.mix(_weights(space, x, table), [table])[0],
    "collect": lambda space, x, table: space.collect(_weights(space, x, table), space.enter(x)),
    "spread": lambda space, x, table: space.leave(
        0 * _weights(space, x, table) + space.spread(table[..., 0])
    ),
    "total": lambda space, x, table: space.total(_weights(space, x, table)),
    "highest": lambda space, x, table: space.highest(_weights(space, x, table)),
}


@jax.jit
def products(regions, x, table):
    """Evaluates each product by name, with weights of 1 + the scores of pixels and table.

    The weights differ from 0 at pixels that are left out.
    """
    return {
        name: region_products.dispatch(regions, formula, x, table)
        for name, formula in FORMULAS.items()
    }


def assert_products(regions, labels, x, table):
    """Asserts that all products equal those of NumPy.

    Args:
      regions: the regions of `labels`.
      labels: `[B, P]`; pixels of label L are left out.
      x: `[B, P, C]`.
      table: `[B, L, K, C]`.
    """
    one_hot = np.eye(table.shape[1] + 1, dtype=np.float32)[labels][..., :-1]
    own = np.einsum("bpl,blkc->bpkc", one_hot, table)
    weights = 1 + np.einsum("bpc,bpkc->bpk", x, own)
    found = products(regions, x, table)

    def check(name, expected, **tolerance):
        assert_close(found[name], expected, **tolerance)

    check("scores", weights, atol=1e-5)
    check("mix", np.einsum("bpk,bpkc->bpc", weights, own), atol=1e-4)
    check("collect", np.einsum("bpl,bpk,bpc->blkc", one_hot, weights, x), of_largest=1e-5)
    check("spread", own[..., 0], atol=1e-6)
    check("total", np.einsum("bpl,bpk->blk", one_hot, weights), of_largest=1e-5)
    tops = np.where(one_hot[..., None] > 0, weights[:, :, None], -np.inf).max(1)
    np.testing.assert_allclose(found["highest"], tops, atol=1e-5)
