"""A weather service on a port of its own that can be told to fail in each way."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behaviour = Callable[[BaseHTTPRequestHandler], None]


class WeatherService:
    """Answers as `behaviour` says, and notes what it was asked and when."""

    def __init__(self) -> None:
        self.behaviour: Behaviour = good
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.times: list[float] = []
        self._open: set[socket.socket] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def calls(self) -> int:
        return len(self.asked)

    def die(self) -> None:
        """Break all connections and take no more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                service._open.add(self.connection)

            def finish(self) -> None:
                service._open.discard(self.connection)
                with suppress(OSError):
                    super().finish()

            def do_GET(self) -> None:
                service.times.append(time.monotonic())
                service.asked.append((self.path, dict(self.headers)))
                try:
                    service.behaviour(self)
                except OSError:  # the client has gone
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        return Handler


@contextmanager
def weather_service() -> Iterator[WeatherService]:
    """Run a weather service."""
    service = WeatherService()
    try:
        yield service
    finally:
        service.die()


def answer(body: bytes, status: int = 200, **headers: str) -> Behaviour:
    """Answer at once."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return behave


def good(handler: BaseHTTPRequestHandler) -> None:
    """Answer with an observation of now."""
    answer(observation())(handler)


def wrong_encoding(handler: BaseHTTPRequestHandler) -> None:
    """Answer with an observation of now that claims to be compressed."""
    answer(observation(), Content_Encoding="gzip")(handler)


def one_after_another(*behaviours: Behaviour) -> Behaviour:
    """Answer each request in another way."""
    following = iter(behaviours)
    return lambda handler: next(following)(handler)


def late(seconds: float) -> Behaviour:
    """Answer, but not at once."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(seconds)
        good(handler)

    return behave


def drip(handler: BaseHTTPRequestHandler) -> None:
    """Send a byte every now and then."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b" ")
        time.sleep(0.02)


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """Close the connection instead of answering."""
    handler.close_connection = True


def break_off(handler: BaseHTTPRequestHandler) -> None:
    """Close the connection in the middle of an answer."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"properties": ')
    handler.close_connection = True


def observation(observed_at: datetime | None = None, /, **readings: Any) -> bytes:
    """Return an observation as the National Weather Service sends it."""
    quantities = {
        "temperature": (22.8, "degC"),
        "dewpoint": (18.3, "degC"),
        "windDirection": (20, "degree_(angle)"),
        "windSpeed": (7.56, "km_h-1"),
        "windGust": (None, "km_h-1"),
        "barometricPressure": (101860, "Pa"),
        "seaLevelPressure": (101870, "Pa"),
        "visibility": (16090, "m"),
        "precipitationLastHour": (2.54, "mm"),
        "relativeHumidity": (75.770935807607, "percent"),
    }
    properties = {
        "station": "https://api.weather.gov/stations/KEWR",
        "timestamp": (observed_at or datetime.now(UTC)).isoformat(timespec="seconds"),
        "rawMessage": "KEWR 302351Z 02004KT 10SM FEW026 BKN055 23/18 A3008",
        "presentWeather": [],
        **{
            name: {"unitCode": f"wmoUnit:{unit}", "value": value, "qualityControl": "V"}
            for name, (value, unit) in quantities.items()
        },
        "cloudLayers": [{"base": {"unitCode": "wmoUnit:m", "value": 790}, "amount": "FEW"}],
        **readings,
    }
    geometry = {"type": "Point", "coordinates": [-74.17, 40.68]}
    content = {"type": "Feature", "geometry": geometry, "properties": properties}
    return json.dumps(content).encode()
