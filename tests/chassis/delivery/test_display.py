"""What a person sees of a release, at each of its moments."""

import io
import re

import pytest
from rich.console import Console

from chassis.delivery import releases
from chassis.delivery.releases import BAD, CANARY, GOOD, PACE, STABLE
from ml_chassis.delivery.display import ASCII, Display, Marks, State, lasts, picture
from ml_chassis.delivery.progress import Look
from ml_chassis.delivery.record import Release

LEAST = 2_000
WIDTHS = (60, 120)
SGR = re.compile(r"\x1b\[([\d;]*)m")
NOT_ANSWERED = Look(answered=False)


def lines(
    release: Release, seen: Look = GOOD, *, since_look: float = 10, width: int = 60
) -> list[str]:
    """Return the lines of a picture, a while after the last look."""
    now = release.since + PACE.delay + since_look
    state = State(release, seen, now - since_look, now)
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    with console.capture() as captured:
        console.print(picture("flights", state, PACE, LEAST, Marks()))
    return captured.get().splitlines()


def words(*given: object, **more: object) -> str:
    """Return what a picture says, in one line."""
    return " ".join(" ".join(lines(*given, **more)).split())  # type: ignore[arg-type]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    ("release", "seen", "said"),
    [
        (releases.starting(), Look(), "the canary starts, stable answers all requests"),
        (releases.stepping(), GOOD, "step 1 of 4: the canary gets 5 % of the requests"),
        (releases.second_step(), GOOD, "●○○ 1 of 3 good verdicts"),
        (releases.held(), GOOD, "held in step 2 of 4: it waits for you"),
        (releases.failed(), BAD, "rolled back: errors, latency"),
        (releases.aborted_at_once(), Look(), "rolled back: aborted"),
        (releases.promoting(), GOOD, "it is being promoted"),
        (releases.promoted(), GOOD, "promoted: it answers all requests"),
    ],
    ids=["starts", "first", "second", "held", "bad", "aborted", "promoting", "promoted"],
)
def test_each_moment_has_its_words_and_fits(
    release: Release, seen: Look, said: str, width: int
) -> None:
    shown = words(release, seen, width=width)

    assert said in shown
    assert shown.startswith("flights")
    assert f"{STABLE} → {CANARY}" in shown
    assert all(len(each) <= width for each in lines(release, seen, width=width))
    for event in release.events[-5:]:
        assert event.text in shown


@pytest.mark.parametrize(
    ("release", "row"),
    [
        (releases.starting(), "○ 5 % ○ 10 % ○ 25 % ○ 50 % ○ promoted"),
        (releases.second_step(), "✓ 5 % ● 10 % ○ 25 % ○ 50 % ○ promoted"),
        (releases.failed(), "✓ 5 % ✗ 10 % ○ 25 % ○ 50 % ○ promoted"),
        (releases.promoting(), "✓ 5 % ✓ 10 % ✓ 25 % ✓ 50 % ● promoted"),
        (releases.promoted(), "✓ 5 % ✓ 10 % ✓ 25 % ✓ 50 % ✓ promoted"),
    ],
    ids=["starts", "second", "bad", "promoting", "promoted"],
)
def test_the_steps_are_done_or_go_on_or_are_to_come(release: Release, row: str) -> None:
    assert row in words(release)


@pytest.mark.parametrize(
    ("seen", "changed", "said"),
    [
        (GOOD, {}, "Verdict good"),
        (BAD, {}, "Verdict bad: errors, latency"),
        (Look(0), {}, "Verdict not known yet Requests"),
        (Look(), {"unknown": 4}, "not known yet (4 of 30 looks, then it is held)"),
        (NOT_ANSWERED, {"silent": 2}, "does not answer (2 of 5 looks, then it is rolled back)"),
    ],
    ids=["good", "bad", "not known", "long not known", "Prometheus is away"],
)
def test_the_verdict_is_in_words(seen: Look, changed: dict[str, int], said: str) -> None:
    assert said in words(releases.second_step().model_copy(update=changed), seen)


def test_how_many_requests_are_waited_for() -> None:
    assert "1,234 of the canary, waits for 766 more" in words(releases.stepping(), GOOD)
    assert "2,000 of the canary In a row" in words(releases.stepping(), Look(1, (), LEAST))
    assert "Requests" not in words(releases.stepping(), NOT_ANSWERED)


def test_when_the_next_look_is_and_that_none_counts_before_the_delay() -> None:
    assert "Next look in 0:50" in words(releases.stepping(), GOOD, since_look=10)
    assert "Next look now" in words(releases.stepping(), GOOD, since_look=70)
    early = State(releases.stepping(), GOOD, releases.BEGUN + 40, releases.BEGUN + 45)
    console = Console(file=io.StringIO(), width=60)
    with console.capture() as captured:
        console.print(picture("flights", early, PACE, LEAST, Marks()))
    assert "in 1:55" in captured.get()


def test_what_waits_for_a_person_has_no_next_look_that_goes_on() -> None:
    assert "Next look" in words(releases.second_step())
    assert "Next look" not in words(releases.held())
    assert "In a row" not in words(releases.held())


def test_what_a_person_can_say_is_written_as_it_is_typed() -> None:
    assert "make canary DO=hold (or promote, abort)" in "\n".join(lines(releases.second_step()))
    assert "make canary DO=resume (or promote, abort)" in "\n".join(lines(releases.held()))
    assert "make canary DO=abort" in "\n".join(lines(releases.starting()))
    for ended in (releases.failed(), releases.promoted()):
        assert "make canary" not in words(ended)


def test_the_last_events_are_shown_with_their_time() -> None:
    shown = lines(releases.stepping())
    assert any("00:00:30  The canary is ready. It gets 5 %" in each for each in shown)
    many = releases.stepping()
    for number in range(9):
        many = many.with_event(many.since + number, f"Event {number}.")
    assert [f"Event {at}." in words(many) for at in range(9)] == [False] * 4 + [True] * 5


def test_a_name_is_no_markup() -> None:
    odd = releases.stepping().with_event(0, "[red]odd[/] :smile:")
    assert "[red]odd[/] :smile:" in words(odd)


def test_a_duration_is_minutes_and_seconds() -> None:
    assert [lasts(each) for each in (-1, 0, 65, 3_605)] == ["0:00", "0:00", "1:05", "1:00:05"]


def test_a_terminal_without_unicode_has_other_signs() -> None:
    release = releases.failed()
    state = State(release, BAD, release.since, release.since + 60)
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Console(file=file, width=60).print(picture("flights", state, PACE, LEAST, ASCII))
    file.flush()
    assert b"x 10 %" in file.buffer.getvalue()


def live(width: int) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    console = Console(
        file=file, force_terminal=True, width=width, height=30, color_system="standard"
    )
    return console, file


@pytest.mark.parametrize("width", WIDTHS)
def test_a_terminal_is_drawn_in_its_place_and_given_back(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    console, file = live(width)
    with Display("flights", releases.starting(), PACE, console=console) as display:
        assert "the canary starts" in file.getvalue()
        display.show(releases.stepping(), GOOD)
        display.show(releases.failed(), BAD)

    written = file.getvalue()
    last = SGR.sub("", written)[-1_500:]
    assert "rolled back: errors, latency" in " ".join(last.split())
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1  # the cursor
    assert "\x1b[1A" in written
    assert "31" in {part for each in SGR.findall(written) for part in each.split(";")}


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    console, file = live(60)
    with Display("flights", releases.stepping(), PACE, console=console) as display:
        display.show(releases.failed(), BAD)
    codes = {int(part or 0) for each in SGR.findall(file.getvalue()) for part in each.split(";")}
    assert codes
    assert max(codes) < 30


def test_a_look_is_another_one_where_its_object_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    release, now = releases.stepping(), [releases.BEGUN + 500.0]
    console, file = live(120)
    first, second = Look(1), Look(1)
    with Display("flights", release, PACE, console=console, clock=lambda: now[0]) as display:
        for seen, waited, said in ((first, 5, "1:00"), (second, 5, "1:00"), (second, 20, "0:40")):
            now[0] += waited
            display.show(release, seen)
            assert f"in {said}" in file.getvalue()[-2_000:]


def test_without_a_terminal_each_new_event_is_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as CI has it
    monkeypatch.setenv("COLUMNS", "20")
    known = releases.stepping()
    with Display("flights", known, PACE) as display:
        display.show(known, GOOD)
        assert capsys.readouterr().out == ""
        for _ in range(3):
            display.show(releases.second_step(), GOOD)
        display.show(releases.failed(), BAD)

    assert capsys.readouterr().out.splitlines() == [
        "00:02:30 1,234 requests of the canary, no problem. It gets 10 % of the requests.",
        "00:05:30 Rolled back: errors, latency.",
    ]
