"""Each product of a space as a formula of its own, for `region_products.run`.

Weights are 1 + the scores of pixels x `[B, P, C]` and a table `[B, L, K, C]`, so that they differ
from 0 at pixels that are left out.
"""


def weights_of(space, x, table):
    return 1 + space.scores(space.enter(x), table)


def scores(space, x, table):
    return space.leave_weights(weights_of(space, x, table))


def mix(space, x, table):
    return space.leave(space.mix(weights_of(space, x, table), table))


def collect(space, x, table):
    return space.collect(weights_of(space, x, table), space.enter(x))


def spread(space, x, table):
    return space.leave_weights(0 * weights_of(space, x, table) + space.spread(table[..., 0]))


def total(space, x, table):
    return space.total(weights_of(space, x, table))


def highest(space, x, table):
    return space.highest(weights_of(space, x, table))
