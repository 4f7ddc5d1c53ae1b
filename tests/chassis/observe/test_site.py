"""The pages where something is odd: names, a question that fails, no Prometheus."""

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from browser import look
from ml_chassis import slo
from ml_chassis.monitoring import panels
from ml_chassis.monitoring.rules import drift
from ml_chassis.observe import runbook
from ml_chassis.observe.prometheus import (
    Alert,
    Prometheus,
    QueryError,
    Sample,
    Series,
)
from ml_chassis.observe.site import Site, create_app

SHOWN = panels.dashboards(slo.read())
PLACE = {"track": "stable", "version": "v1"}


class Answering(Prometheus):
    """Knows two features, of which one has drifted, and remembers what it was asked."""

    def __init__(self, *alerts: Alert, names: tuple[str, str] = ("age", "size")) -> None:
        """Take what fires, and the names of the features."""
        super().__init__("http://127.0.0.1:1")
        self.asked = list[str]()
        self._alerts, self._names = alerts, names

    def ask(self, expr: str, at: float | None = None) -> list[Sample]:  # noqa: ARG002
        self.asked.append(expr)
        values = {drift.PSI: (0.1, 0.5), drift.LIMIT: (0.2, 0.2)}.get(expr.partition("{")[0])
        if values:
            both = zip(self._names, values, strict=True)
            return [Sample({**PLACE, "feature": name}, value) for name, value in both]
        return [Sample({**PLACE, "bin": "= a"}, 0.5)]

    def ask_range(
        self,
        expr: str,
        start: float,  # noqa: ARG002
        end: float,
        step: float,  # noqa: ARG002
    ) -> list[Series]:
        self.asked.append(expr)
        return [Series(PLACE, [(end - 60, 1.0), (end, 2.0)])]

    def alerts(self) -> list[Alert]:
        return [*self._alerts]


def site(server: Prometheus) -> Site:
    return Site(server, "flights", "my.service", SHOWN, 5)


def get(server: Prometheus, path: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(site(server)))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.get(path)

    return asyncio.run(ask())


def test_the_feature_that_has_drifted_most_is_shown_first_and_drawn_over_time() -> None:
    server = Answering()
    assert re.findall(
        "<figcaption><b>(.*?)</b>", site(server).render("distributions", "1", "")
    ) == [
        "size has drifted",
        "age",
    ]
    server.asked.clear()
    shown = site(server).render("drift", "6", "")
    assert '<a class="here">size</a>' in shown
    assert '<a href="/drift?hours=24&amp;feature=' not in shown
    assert any('feature="size"' in expr for expr in server.asked)
    shown = site(server).render("drift", "6", "age")
    assert '<a class="here">age</a>' in shown
    assert '<a href="/drift?hours=24&amp;feature=age">day</a>' in shown


@pytest.mark.parametrize("odd", ['a"b', "a\\d", "a\nb", 'x"} or up{a="'])
def test_no_name_of_a_feature_becomes_a_part_of_a_question(odd: str) -> None:
    server = Answering(names=("age", odd))
    for name in ("drift", "distributions"):
        site(server).render(name, "1", odd)
    quoted = odd.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    about = [expr for expr in server.asked if "feature=" in expr and '"age"' not in expr]
    assert about
    assert all(f'feature="{quoted}"' in expr or '"(prediction)"' in expr for expr in about)


def test_few_rows_are_told_and_many_are_not() -> None:
    class Counting(Answering):
        rows = 499.0

        def ask(self, expr: str, at: float | None = None) -> list[Sample]:
            counts = expr.startswith(f"min({drift.ROWS}")
            return [Sample({}, self.rows)] if counts else super().ask(expr, at)

    server = Counting()
    shown = site(server).render("distributions", "1", "")
    assert "<p>499 rows; below 500 nobody is told.</p>" in shown
    assert "<p>Population stability index 0.10, limit 0.20.</p>" in shown
    server.rows = 500
    assert "<p>500 rows.</p>" in site(server).render("distributions", "1", "")


def test_a_feature_that_there_is_not_is_not_asked_for() -> None:
    server = Answering()
    site(server).render("drift", "1", "elsewhere")
    assert not [expr for expr in server.asked if "elsewhere" in expr]


def test_a_name_of_a_job_means_nothing_else() -> None:
    server = Answering()
    site(server).render("service", "1", "")
    assert any(r'job=~"my\\.service"' in expr for expr in server.asked)


def test_each_page_says_what_fires_and_one_says_what_to_do() -> None:
    alert = Alert(True, "ticket", "ModelServiceFeatureDrift", "2026-11-30 10:00:00", "age <odd>")
    pending = Alert(False, "page", "ModelServiceErrors", "2026-11-30 10:00:00", "so it is")
    for name in ("service", "alerts"):
        shown = get(Answering(alert, pending), f"/{name}").text
        assert '<h1 class="missed">flights: ModelServiceFeatureDrift</h1>' in shown
    assert "<li>age &lt;odd&gt;, since 2026-11-30 10:00:00 UTC.</li>" in shown
    assert "Which part of it has grown?" in shown
    assert '<span class="state unknown">pending</span> <b>ModelServiceErrors</b>' in shown
    assert 'http-equiv="refresh"' not in shown
    assert "No alert fires" in get(Answering(), "/alerts").text


def test_the_runbook_is_rendered_once_for_an_alert_and_names_its_feature() -> None:
    name, since = "ModelServiceFeatureDrift", "2026-11-30 10:00:00"
    alerts = [
        Alert(True, severity, name, since, "It is 2.92.", {"feature": feature})
        for severity, feature in (("page", "age"), ("ticket", "size"))
    ]
    shown = get(Answering(*alerts), "/alerts").text

    assert shown.count(f"<b>{name}</b>") == 2
    assert shown.count("<ol>") == 1
    assert (
        "<code>sort_desc(model_service:feature_bin_share:window{feature=&quot;age&quot;}" in shown
    )
    assert "NAME" not in shown
    assert f"<li>It is 2.92, since {since} UTC.</li>" in shown


@pytest.mark.slow
def test_a_phone_shows_all_of_what_fires(tmp_path: Path) -> None:
    names, since = runbook.sections(), "2026-11-30 10:00:00"
    assert len(names) > 10
    alerts = [Alert(True, "page", name, since, "So it is.", {"feature": "age"}) for name in names]
    assert look(get(Answering(*alerts), "/alerts").text, tmp_path, width=360).width <= 360


def test_html_in_the_runbook_is_only_shown() -> None:
    assert "<script" not in runbook.render("1. <script>x</script>", {})


def test_a_question_that_fails_costs_its_panel_alone() -> None:
    class Failing(Answering):
        def ask_range(self, expr: str, *when: Any) -> list[Series]:
            if "unauthorised" in expr:
                raise QueryError("query timed out")
            return super().ask_range(expr, *when)

    shown = get(Failing(), "/service")
    assert shown.status_code == 200
    assert "<p>query timed out</p>" in shown.text
    assert shown.text.count("<svg") > 8


def test_without_prometheus_the_page_says_so_and_is_no_success() -> None:
    shown = get(Prometheus("http://127.0.0.1:1"), "/service")
    assert shown.status_code == 503
    assert "flights: nothing is known" in shown.text
    assert "Prometheus does not answer" in shown.text
    assert '<a href="/alerts?hours=1">' in shown.text


def test_a_page_is_drawn_once_for_all_who_ask_at_the_same_time() -> None:
    server = Answering()
    here = site(server)
    first = here.render("service", "1", "")
    asked = len(server.asked)
    assert here.render("service", "1", "") == first
    assert len(server.asked) == asked
    here.render("model", "1", "")
    assert len(server.asked) > asked


def test_what_is_not_seen_is_neither_good_nor_bad() -> None:
    class Unseen(Answering):
        def ask(self, expr: str, at: float | None = None) -> list[Sample]:  # noqa: ARG002
            return []

        def problems(self, job: str) -> dict[str, str]:  # noqa: ARG002
            return {"http://there/metrics": "connection refused", "http://here/metrics": ""}

    shown = get(Unseen(), "/service").text
    assert '<h1 class="missed">flights: not seen yet</h1>' in shown
    assert "http://there/metrics is not seen: connection refused." in shown
    assert "http://here/metrics is not seen: it was not asked yet." in shown
