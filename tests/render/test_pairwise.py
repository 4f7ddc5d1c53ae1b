"""The choice of combinations covers all pairs, with as few projects as possible."""

from project.combinations import COMBINATIONS as USED
from project.combinations import WORKING
from render.engines import CHOICES
from render.pairwise import all_pairs, pairs, pairwise

COMBINATIONS = pairwise(CHOICES)


def test_the_first_combination_is_the_default_of_every_question() -> None:
    assert {name: values[0] for name, values in CHOICES.items()} == COMBINATIONS[0]


def test_every_pair_of_answers_meets_in_some_combination() -> None:
    covered = set().union(*(pairs(combination) for combination in COMBINATIONS))
    assert covered == all_pairs(CHOICES)


def test_no_combination_could_be_left_out() -> None:
    for left_out in range(len(COMBINATIONS)):
        rest = [each for index, each in enumerate(COMBINATIONS) if index != left_out]
        assert set().union(*map(pairs, rest)) != all_pairs(CHOICES)


def test_the_number_of_combinations_is_the_least_possible() -> None:
    # Two questions of three values have nine pairs, and a combination holds only one of them.
    options = {"a": ["1", "2", "3"], "b": ["1", "2", "3"], "c": ["1", "2"], "d": ["1", "2"]}
    assert len(pairwise(options)) == 9


def test_every_answer_has_a_place_among_the_combinations_that_are_used() -> None:
    used = {pair for each in USED for pair in each.items()}
    assert used == {(name, value) for name, values in CHOICES.items() for value in values}
    assert set().union(*map(pairs, USED)) >= all_pairs(WORKING)
