"""Large requests take turns, and neither small ones nor new connections wait for all of them."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from ml_chassis.serving.scoring import OverloadedError
from ml_chassis.serving.turns import TURN_BYTES, Turns

Seen = list[str | int]


def run(scenario: Callable[[Turns, Seen], Awaitable[None]], max_waiting: int = 100) -> Seen:
    """Return what happened, with "turn" at each turn of the event loop."""
    seen: Seen = []

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def note_turn() -> None:
            seen.append("turn")
            loop.call_soon(note_turn)

        note_turn()
        await asyncio.wait_for(scenario(Turns(max_waiting), seen), 5)

    asyncio.run(main())
    return seen


async def go(turns: Turns, seen: Seen, name: int, size: int = TURN_BYTES) -> None:
    await turns.wait(size)
    seen.append(name)


def test_a_lone_request_does_not_wait() -> None:
    async def scenario(turns: Turns, seen: Seen) -> None:
        seen.append(0)
        await go(turns, seen, 1)

    seen = run(scenario)

    assert seen[seen.index(0) + 1] == 1


def test_one_goes_in_a_turn_in_the_order_of_arrival() -> None:
    async def scenario(turns: Turns, seen: Seen) -> None:
        await asyncio.gather(*(go(turns, seen, name) for name in range(4)))

    seen = run(scenario)

    assert [each for each in seen if each != "turn"] == [0, 1, 2, 3]
    assert all(seen[seen.index(name) + 1] == "turn" for name in range(3))


def test_a_turn_has_room_for_several_that_are_not_so_large() -> None:
    async def scenario(turns: Turns, seen: Seen) -> None:
        await asyncio.gather(*(go(turns, seen, name, TURN_BYTES // 2) for name in range(4)))

    seen = run(scenario)

    assert seen.index(1) == seen.index(0) + 1
    assert "turn" in seen[seen.index(1) : seen.index(2)]


def test_who_comes_later_does_not_overtake() -> None:
    async def scenario(turns: Turns, seen: Seen) -> None:
        first = [asyncio.create_task(go(turns, seen, name)) for name in range(3)]
        await first[0]
        await asyncio.gather(*first, go(turns, seen, 3, size=1))

    assert [each for each in run(scenario) if each != "turn"] == [0, 1, 2, 3]


def test_a_request_that_was_given_up_takes_no_turn() -> None:
    async def scenario(turns: Turns, seen: Seen) -> None:
        tasks = [asyncio.create_task(go(turns, seen, name)) for name in range(4)]
        await tasks[0]
        tasks[1].cancel()
        tasks[2].cancel()
        await tasks[3]

    assert [each for each in run(scenario) if each != "turn"] == [0, 3]


def test_too_many_are_refused_and_the_others_are_not() -> None:
    async def scenario(turns: Turns, seen: Seen) -> None:
        waiting = [asyncio.create_task(go(turns, seen, name)) for name in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await turns.wait(1)
        await asyncio.gather(*waiting)

    assert [each for each in run(scenario, max_waiting=2) if each != "turn"] == [0, 1, 2]
