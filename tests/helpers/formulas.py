"""The products of a space, evaluated as attention does: the space is that of the platform."""

from scam_jax.models.scam import region_products


def product(name, regions, x, table):
    """Evaluates one product, with weights of 1 + the scores of pixels and table.

    The weights differ from 0 at pixels that are left out.
    """
    return region_products.dispatch(regions, FORMULAS[name], x, table)


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
