"""Trees of several boosters in one; what comes out predicts as the mean of what they would add."""

from __future__ import annotations

from collections.abc import Sequence

from federant.server.boosters.booster import Booster
from federant.server.boosters.tree import scaled_tree


def join(model: Booster | None, grown: Sequence[tuple[Booster, float]]) -> Booster:
    """The model's trees, then those that were grown on it, in this order.

    Each grown booster comes with its weight. Its leaves are multiplied by its share of all weights:
    each corrects the same errors of the model, so that all together would correct them as often as
    there are boosters. Without a model (None) the first grown one says what the others must be
    like. BadBoosterError if one of them does not fit.
    """
    first = grown[0][0] if model is None else model
    total = sum(weight for _, weight in grown)
    trees, groups, rounds = [*first.trees], [*first.groups], [*first.rounds]
    if model is None:
        trees, groups, rounds = [], [], [0]
    for booster, weight in grown:
        first.shape.require(booster.shape)
        rounds += [len(trees) + end for end in booster.rounds[1:]]
        trees += [scaled_tree(tree, weight / total) for tree in booster.trees]
        groups += booster.groups
    return Booster(first.shape, first.version, trees, groups, rounds)
