"""Choose few combinations of answers in which every pair of answers still meets."""

from collections.abc import Mapping, Sequence
from itertools import combinations, product

Options = Mapping[str, Sequence[str]]
"""The values of each question, its default first."""
Combination = dict[str, str]
"""One value for each question."""
Pair = frozenset[tuple[str, str]]
"""Two questions, each with one of its values."""


def pairwise(options: Options) -> list[Combination]:
    """Return combinations that cover all pairs of values, the one of all defaults first.

    Greedy: each next combination is the one that covers most of what is still uncovered. That is
    not always the least possible number, but it is close and the same in every run.
    """
    candidates = every(options)
    chosen = candidates[:1]
    uncovered = all_pairs(options) - pairs(chosen[0])
    while uncovered:
        best = max(candidates, key=lambda candidate: len(pairs(candidate) & uncovered))
        chosen.append(best)
        uncovered -= pairs(best)
    return chosen


def every(options: Options) -> list[Combination]:
    """Return all combinations."""
    return [dict(zip(options, values, strict=True)) for values in product(*options.values())]


def pairs(combination: Combination) -> set[Pair]:
    """Return the pairs that one combination covers."""
    return {frozenset(pair) for pair in combinations(combination.items(), 2)}


def all_pairs(options: Options) -> set[Pair]:
    """Return every pair of values of two different questions."""
    return {
        frozenset({(first, one), (second, other)})
        for first, second in combinations(options, 2)
        for one, other in product(options[first], options[second])
    }
