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

from ..monitoring.exporter import Server
from ..monitoring.panels import Dashboard
from ..reports.page import NOTHING, page, paragraph
from .page import View, dashboard, drifts, report, title, what_fires
from .prometheus import Prometheus, PrometheusError

REFRESH_SECONDS = 10
HOURS = {"1": "hour", "6": "6 hours", "24": "day", "168": "week"}
REPORT = "report"
LINK = Markup('<a href="{}">{}</a> ')
HERE = Markup('<a class="here">{}</a> ')
NAV = Markup("<nav>{}</nav>")


class Site:
    """What is shown of one service."""

    def __init__(
        self, server: Prometheus, name: str, job: str, shown: Sequence[Dashboard], scrape: int
    ) -> None:
        """Take whom to ask, and about what.

        Args:
            server: Prometheus.
            name: Of the service.
            job: How Prometheus calls it.
            shown: The dashboards.
            scrape: Seconds between two looks of Prometheus.
        """
        self._server, self._name, self._job, self._scrape = server, name, job, scrape
        self._shown = {each.name: each for each in shown}
        self._alone = threading.Lock()

    @property
    def pages(self) -> tuple[str, ...]:
        """The names of the pages."""
        return (*self._shown, REPORT)

    def render(self, name: str, hours: str, feature: str) -> str:
        """Return a page.

        Args:
            name: One of `pages`.
            hours: That it shows.
            feature: The one of which the drift is drawn over time; "" is the one with the most.
        """
        end = time.time()
        view = View(self._job, end - 3_600 * float(hours), end, feature, self._scrape)
        try:
            with self._alone:  # drawing takes a core
                return self._render(name, hours, view)
        except PrometheusError as error:
            parts = [paragraph(str(error))]
            return page(f"{self._name}: nothing is known", False, parts, REFRESH_SECONDS)

    def _render(self, name: str, hours: str, view: View) -> str:
        alerts, found = self._server.alerts(), drifts(self._server, view)
        features = list(dict.fromkeys(each.feature for some in found.values() for each in some))
        view = view._replace(feature=view.feature or next(iter(features), ""))
        parts = [_links(name, {each: _address(each, hours) for each in self.pages})]
        parts += what_fires(alerts)
        if name == REPORT:
            parts += report(self._server, view)
        else:
            times = {text: _address(name, value) for value, text in HOURS.items()}
            parts.append(_links(HOURS[hours], times))
            if name == "drift":
                named = {each: _address(name, hours, each) for each in features}
                parts.append(_links(view.feature, named))
            parts += dashboard(self._server, self._shown[name], view)
        good = not any(each.fires for each in alerts)
        return page(title(self._name, alerts), good, parts, REFRESH_SECONDS)


def _links(chosen: str, addresses: Mapping[str, str]) -> Markup:
    """Return links by their texts, of which one is where the reader is."""
    found = (
        HERE.format(text) if text == chosen else LINK.format(address, text)
        for text, address in addresses.items()
    )
    return NAV.format(NOTHING.join(found))


def _address(name: str, hours: str, feature: str = "") -> str:
    asked = {"hours": hours, **({"feature": feature} if feature else {})}
    return f"/{name}?{urlencode(asked)}"


def create_app(site: Site, *others: Route) -> Starlette:
    """Return the application; it may answer on other routes as well."""

    async def show(request: Request) -> Response:
        name, asked = request.path_params["name"], request.query_params
        if name not in site.pages:
            raise HTTPException(404, f"There are /{', /'.join(site.pages)}.")
        hours = asked.get("hours", next(iter(HOURS)))
        if hours not in HOURS:
            raise HTTPException(400, f"hours: give one of {', '.join(HOURS)}.")
        shown = await asyncio.to_thread(site.render, name, hours, asked.get("feature", ""))
        return HTMLResponse(shown)

    async def first(_: Request) -> Response:
        return RedirectResponse(site.pages[0])

    return Starlette(routes=[Route("/", first), *others, Route("/{name}", show)])


@contextmanager
def running_site(app: Starlette, host: str, port: int) -> Iterator[None]:
    """Answer in a thread until the block ends."""
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
        yield
    finally:
        server.should_exit = True
        thread.join()
