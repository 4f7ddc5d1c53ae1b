"""Of very many rows a share is chosen, and all who write get the same ones."""

from random import Random
from uuid import UUID

import pytest

from chassis.flights import CONTRACT
from ml_chassis.contract import Table
from ml_chassis.feedback.sample import (
    MAX_UNITS_PER_SECOND,
    Exposure,
    Noted,
    Sample,
    gather,
)

ROW = CONTRACT.to_row(CONTRACT.example_row())
MOST = 300


def second_of(sample: Sample, requests: int, rows: int) -> None:
    for number in range(requests):
        sample.note(f"{number}", "v", [ROW] * rows, [0.5] * rows)
    sample.renew()


@pytest.fixture
def taken() -> list[Noted]:
    return []


@pytest.fixture
def sample(taken: list[Noted]) -> Sample:
    return Sample(taken.append, most=MOST)


def test_few_rows_are_all_chosen(sample: Sample, taken: list[Noted]) -> None:
    for _ in range(5):
        second_of(sample, 100, 3)

    assert [list(each.chosen) for each in taken] == [[0, 1, 2]] * 500


@pytest.mark.parametrize(("requests", "rows"), [(1, 9_000), (30, 300), (3_000, 3), (9_000, 1)])
def test_a_row_is_chosen_with_the_same_probability_whatever_the_size_of_its_request(
    requests: int, rows: int, sample: Sample, taken: list[Noted]
) -> None:
    second_of(sample, requests, rows)  # of the first second more, as nobody knows how many come
    taken.clear()
    for _ in range(10):
        second_of(sample, requests, rows)

    assert 2_670 < sum(len(each.chosen) for each in taken) < 3_330  # 6 deviations
    places = [(int(each.id), at) for each in taken for at in each.chosen]
    share_of_early = sum(number * rows + at < 4_500 for number, at in places) / len(places)
    assert 0.44 < share_of_early < 0.56  # 6 deviations


def test_after_a_flood_all_rows_are_chosen_again(sample: Sample, taken: list[Noted]) -> None:
    second_of(sample, 90_000, 1)
    second_of(sample, 1, 1)
    taken.clear()
    for _ in range(3):
        second_of(sample, 2, 1)

    assert len(taken) == 6


def test_all_who_write_get_the_same_rows(taken: list[Noted]) -> None:
    others: list[Noted] = []
    sample = Sample(taken.append, others.append, most=MOST)
    second_of(sample, 3_000, 3)

    assert taken == others
    assert 300 < len(taken) < 3_000


def test_chosen_rows_have_the_names_of_their_places_in_the_request() -> None:
    table = Table(*CONTRACT.to_arrays([ROW] * 4))
    first = Noted("a", "v1", table, [0.1, 0.2, 0.3, 0.4], [1, 3])

    found = gather([first, Noted("b", "v2", [ROW], [9], [0])])

    assert found.ids == ["a-1", "a-3", "b-0"]
    assert found.versions == ["v1", "v1", "v2"]
    assert found.predictions == [0.2, 0.4, 9]
    assert [len(part) for part in found.rows] == [2, 1]


def named_second_of(sample: Sample, names: list[str], rows: int = 1) -> None:
    for name in names:
        sample.note(name, "v", [ROW] * rows, [0.5] * rows, is_named=True)
    sample.renew()


def test_of_named_requests_all_replicas_choose_the_same_first_rows(taken: list[Noted]) -> None:
    others: list[Noted] = []
    stable, shadow = Sample(taken.append, most=MOST), Sample(others.append, most=MOST)
    random = Random(0)
    for second in range(12):
        if second == 2:  # by then both know how many come
            taken.clear()
            others.clear()
        names = [str(UUID(int=random.getrandbits(128), version=4)) for _ in range(9_000)]
        named_second_of(stable, names, rows=2)
        named_second_of(shadow, random.sample(names, len(names)), rows=2)

    both, either = (
        len(operation(*({each.id for each in found if 0 in each.chosen} for found in all_of)))
        for operation in (set.intersection, set.union)
        for all_of in [(taken, others)]
    )
    assert 2_670 < both < 3_330  # 300 a second; 6 deviations
    assert both < either  # each has chosen others by chance, too


def test_few_named_requests_are_all_chosen(sample: Sample, taken: list[Noted]) -> None:
    second_of(sample, 9_000, 1)  # of others there are very many
    taken.clear()
    names = [str(UUID(int=number, version=4)) for number in range(MOST)]
    for name in names:
        sample.note(name, "v", [ROW], [0.5], is_named=True)

    assert {each.id for each in taken} == {*names}


def test_names_that_a_client_has_made_up_are_bounded(sample: Sample, taken: list[Noted]) -> None:
    second_of(sample, 90_000, 1)
    taken.clear()
    named_second_of(sample, [str(UUID(int=0))] * 90_000)

    assert len(taken) < 3 * MOST  # as many by their names as by chance


def test_each_unit_of_an_experiment_is_noted_once_however_much_is_asked(
    sample: Sample, taken: list[Noted]
) -> None:
    second_of(sample, 9_000, 1)  # of others a share is chosen
    taken.clear()
    units = [Exposure("a", f"{number}", "champion") for number in range(500)]
    for _ in range(3):
        for unit in units:
            sample.note(unit.unit, "v", [ROW] * 2, [0.5] * 2, exposure=unit)

    exposed = [each for each in taken if each.exposure]
    assert [each.exposure[:3] for each in exposed if each.exposure] == [each[:3] for each in units]
    assert all(0 in each.chosen for each in exposed)


def test_units_that_a_client_has_made_up_are_bounded(sample: Sample, taken: list[Noted]) -> None:
    for number in range(2 * MAX_UNITS_PER_SECOND):
        unit = Exposure("a", f"{number}", "champion")
        sample.note("a", "v", [ROW], [0.5], exposure=unit)

    assert sum(each.exposure is not None for each in taken) == MAX_UNITS_PER_SECOND
