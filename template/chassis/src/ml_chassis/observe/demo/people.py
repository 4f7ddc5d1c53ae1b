"""Whom Alertmanager tells in the story, in place of the receivers of the project."""

import threading
import time
from collections.abc import Callable
from typing import NamedTuple, Self

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route


class Told(NamedTuple):
    """What somebody was told of an alert.

    Attributes:
        at: Unix time in seconds.
        receiver: Who was told, by the name in monitoring/alertmanager.yaml.
        fires: Whether it fires; else it has ended.
        labels: What it is about.
        summary: What is so.
    """

    at: float
    receiver: str
    fires: bool
    labels: dict[str, str]
    summary: str

    @property
    def about(self) -> str:
        """How the alert is called, and of which feature it is."""
        return " ".join(filter(None, (self.labels["alertname"], self.labels.get("feature"))))

    @property
    def sentence(self) -> str:
        """What is said."""
        return f"{self.about} fires: {self.summary}" if self.fires else f"{self.about} has ended"

    def ends(self, other: Self) -> bool:
        """Return whether this says that another one has ended."""
        same = (self.receiver, self.labels) == (other.receiver, other.labels)
        return same and not self.fires


class People:
    """They remember what they are told, and say it on."""

    def __init__(self, say: Callable[[Told], None]) -> None:
        """Take whom they say it to."""
        self.told = list[Told]()
        self._say = say
        self._firing = dict[tuple[str, frozenset[tuple[str, str]]], Told]()
        self._alone = threading.Lock()

    @property
    def app(self) -> Starlette:
        """What answers Alertmanager: each receiver has a path, its name."""
        return Starlette(routes=[Route("/{receiver:path}", self._take, methods=["POST"])])

    def firing(self, **labels: str) -> set[str]:
        """Return the alerts with these labels that fire, as far as people know."""
        with self._alone:
            found = [*self._firing.values()]
        return {each.about for each in found if labels.items() <= each.labels.items()}

    async def _take(self, request: Request) -> Response:
        """Take a notification, of which a part is not new."""
        receiver = request.path_params["receiver"]
        for each in (await request.json())["alerts"]:
            summary = each["annotations"].get("summary", "")
            told = Told(time.time(), receiver, each["status"] == "firing", each["labels"], summary)
            key = (receiver, frozenset(told.labels.items()))
            if told.fires != (key in self._firing):
                with self._alone:
                    self._firing.pop(key, None)
                    if told.fires:
                        self._firing[key] = told
                self.told.append(told)
                self._say(told)
        return PlainTextResponse("")
