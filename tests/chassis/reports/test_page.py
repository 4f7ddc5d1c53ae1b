"""What is text in a page stays text, wherever it stands."""

from markupsafe import Markup

from ml_chassis.reports.chart import Axis, Mark, Series, draw, named
from ml_chassis.reports.page import (
    bold,
    charts,
    code,
    heading,
    page,
    paragraph,
    state,
    table,
)

EVIL = "<script>alert('x')</script>\"&"


def test_no_text_becomes_html() -> None:
    chart = draw(
        EVIL,
        [Series(EVIL, [(0, 1), (1, 2)], shape) for shape in ("line", "bars", "points")],
        [Mark(EVIL, 1), Mark(EVIL, 1, upright=True)],
        named([EVIL, EVIL])._replace(label=EVIL),
        Axis(0, 2),
        shaded=(0, 1),
    )
    cells = (EVIL, bold(EVIL), code(EVIL), state(True, EVIL), state(False, no=EVIL))
    parts = [heading(EVIL), paragraph(EVIL), EVIL, table([EVIL], [cells]), charts([chart, EVIL])]

    shown = page(EVIL, True, parts)

    assert "<script" not in shown
    assert "alert('" not in shown
    # The title twice; that of the chart twice, its series three times, two marks, two names of
    # steps and their label; the cells and the head; and five more.
    assert shown.count("&lt;script&gt;") == 2 + 2 + 3 + 2 + 2 + 1 + 5 + 1 + 4


def test_html_stays_html() -> None:
    shown = page("title", False, [Markup("<p>a &amp; b</p>"), table(["a"], [[bold(1)]])])

    assert "<p>a &amp; b</p>" in shown
    assert "<tr><th>a</th></tr><tr><td><b>1</b></td></tr>" in shown
    assert '<h1 class="missed">title</h1>' in shown
