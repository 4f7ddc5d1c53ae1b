"""The pages over HTTP, in a thread of their own."""

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from urllib.parse import urlencode

import uvicorn
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from ..monitoring import metrics
from ..monitoring.exporter import Server
from ..monitoring.panels import Dashboard
from ..programs import ProgramError
from ..reports.page import NOTHING, page, paragraph
from .page import Drifts, View, dashboard, drifts, matching, report, what_fires
from .prometheus import Alert, Prometheus, PrometheusError

REFRESH_SECONDS = 10
FRESH_SECONDS = 5
"""For so long a page is the same for all who ask."""
HOURS = {"1": "hour", "6": "6 hours", "24": "day", "168": "week"}
ALERTS, DRIFT, DISTRIBUTIONS = "alerts", "drift", "distributions"
LINK = Markup('<a href="{}">{}</a> ')
HERE = Markup('<a class="here">{}</a> ')
NAV = Markup("<nav>{}</nav>")
NOTE = Markup('<p class="note">{}</p>')
WHERE = Markup('<p>Prometheus: <a href="{}">{}</a></p>')


class Site:
    """What is shown of one service."""

    def __init__(
        self,
        server: Prometheus,
        name: str,
        job: str,
        shown: Sequence[Dashboard],
        scrape_seconds: int,
        notes: Sequence[str] = (),
    ) -> None:
        """Take whom to ask, and about what.

        Args:
            server: Prometheus.
            name: Of the service.
            job: How Prometheus calls it.
            shown: The dashboards.
            scrape_seconds: Between two scrapes.
            notes: What somebody who looks should know, sentences.
        """
        self._server, self._name, self._job = server, name, job
        self._scrape_seconds, self._notes = scrape_seconds, notes
        self._shown = {each.name: each for each in shown}
        self._alone = threading.Lock()
        self._rendered = dict[tuple[str, str, str], tuple[float, str]]()

    @property
    def pages(self) -> tuple[str, ...]:
        """The names of the pages."""
        return (*self._shown, DISTRIBUTIONS, ALERTS)

    def render(self, name: str, hours: str, feature: str) -> str:
        """Return a page; somebody else may have seen it some seconds before.

        Args:
            name: One of `pages`.
            hours: That it shows.
            feature: The one of which the drift is drawn over time; where there is no such one, it
                is that which has drifted most.

        Raises:
            PrometheusError: there is no answer.
        """
        asked = (name, hours, feature)
        with self._alone:  # drawing takes a core
            at, text = self._rendered.get(asked, (0.0, ""))
            if time.monotonic() - at > FRESH_SECONDS:
                text = self._render(*asked)
                self._rendered = {asked: (time.monotonic(), text)}
        return text

    def away(self, error: PrometheusError) -> str:
        """Return the page while Prometheus does not answer."""
        parts = [self._pages("", next(iter(HOURS)), ""), paragraph(str(error))]
        return page(f"{self._name}: nothing is known", False, parts, REFRESH_SECONDS)

    def _render(self, name: str, hours: str, feature: str) -> str:
        end = time.time()
        view = View(self._job, end - 3_600 * float(hours), end, feature, self._scrape_seconds)
        seen = self._server.ask(metrics.series_of(metrics.START) + matching({"job": self._job}))
        alerts, parts = self._server.alerts(), [self._pages(name, hours, feature)]
        parts += [NOTE.format(each) for each in self._notes]
        if not seen:
            parts += self._why_not_seen()
        if name == ALERTS:
            parts += what_fires(alerts)
        elif name == DISTRIBUTIONS:
            parts += report(self._server, view, drifts(self._server, view))
        else:
            parts += self._dashboard(name, hours, self._since_known(view))
        parts.append(WHERE.format(self._server.url, self._server.url))
        good = bool(seen) and not any(each.fires for each in alerts)
        refresh = 0 if name == ALERTS else REFRESH_SECONDS  # it is read for a while
        return page(self._title(bool(seen), alerts), good, parts, refresh)

    def _dashboard(self, name: str, hours: str, view: View) -> Iterator[Markup]:
        times = {text: _address(name, value, view.feature) for value, text in HOURS.items()}
        yield _links(HOURS[hours], times)
        if name == DRIFT:
            features = _features(drifts(self._server, view))
            if view.feature not in features:
                view = view._replace(feature=next(iter(features), ""))
            yield _links(view.feature, {each: _address(name, hours, each) for each in features})
        yield from dashboard(self._server, self._shown[name], view)

    def _since_known(self, view: View) -> View:
        """Return a view that begins where Prometheus began to know something."""
        known = self._server.ask_range("vector(1) and on () up", view.start, view.end, view.step)
        return view._replace(start=known[0].points[0][0]) if known else view

    def _why_not_seen(self) -> Iterator[Markup]:
        for url, error in self._server.problems(self._job).items():
            yield paragraph(f"{url} is not seen: {error or 'it was not asked yet'}.")

    def _title(self, seen: bool, alerts: Sequence[Alert]) -> str:
        firing = sorted({each.name for each in alerts if each.fires})
        told = ", ".join(firing) or ("no alert fires" if seen else "not seen yet")
        return f"{self._name}: {told}"

    def _pages(self, name: str, hours: str, feature: str) -> Markup:
        return _links(name, {each: _address(each, hours, feature) for each in self.pages})


def _features(found: Drifts) -> list[str]:
    return list(dict.fromkeys(each.feature for some in found.values() for each in some))


def _links(chosen: str, addresses: Mapping[str, str]) -> Markup:
    """Return links by their texts, of which one is where the reader is."""
    found = (
        HERE.format(text) if text == chosen else LINK.format(address, text)
        for text, address in addresses.items()
    )
    return NAV.format(NOTHING.join(found))


def _address(name: str, hours: str, feature: str) -> str:
    asked = {name: value for name, value in (("hours", hours), ("feature", feature)) if value}
    return f"/{name}?{urlencode(asked)}"


def create_app(site: Site) -> Starlette:
    """Return the application."""

    async def show(request: Request) -> Response:
        name, asked = request.path_params["name"], request.query_params
        if name not in site.pages:
            raise HTTPException(404, f"There are /{', /'.join(site.pages)}.")
        hours = asked.get("hours", next(iter(HOURS)))
        if hours not in HOURS:
            raise HTTPException(400, f"hours: give one of {', '.join(HOURS)}.")
        try:
            text = await asyncio.to_thread(site.render, name, hours, asked.get("feature", ""))
        except PrometheusError as error:
            return HTMLResponse(site.away(error), 503)
        return HTMLResponse(text)

    async def first(_: Request) -> Response:
        return RedirectResponse(site.pages[0])

    return Starlette(routes=[Route("/", first), Route("/{name}", show)])


@contextmanager
def running_site(app: Starlette, host: str, port: int) -> Iterator[None]:
    """Answer in a thread until the block ends; it begins once there are answers.

    Raises:
        ProgramError: nobody can listen there.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        access_log=False,
        log_config=None,
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    server = Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise ProgramError(f"Nobody can listen on {host}:{port}.")
            time.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        thread.join()
