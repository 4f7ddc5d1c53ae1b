"""Lines, traces and profiles of a service that runs, with a collector and another service."""

import asyncio
import json
import logging
import re
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil
import pytest

from chassis.example.sources.weather_service import WeatherService, weather_service
from chassis.example.test_web import FLIGHT, Stub, departure_in, with_model
from chassis.flights import CONTRACT, PROJECT
from collector import Collector, Span, running_collector
from ml_chassis import logs, tracing
from ml_chassis.contract import Categorical, Numeric, Predictions
from ml_chassis.current import RequestContext, about
from ml_chassis.logs import Context
from ml_chassis.programs import free_port
from ml_chassis.serving import observation
from ml_chassis.serving.api import create_app, endpoints
from ml_chassis.serving.observation import MOST, Observer
from ml_chassis.serving.runtime import Runtime
from ml_chassis.serving.scoring import Model
from ml_chassis.settings import Settings, SettingsError
from ml_chassis.sources.http import get, open_client
from ml_chassis.testing import Service, Trained, start_service
from render.engines import ROOT
from waiting import wait_for

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
SERVER, CLIENT = 2, 3
ROW = {**CONTRACT.example_row(), "distance": 1234.5678}


class Watched(NamedTuple):
    """A service whose requests are all told of."""

    service: Service
    collector: Collector
    weather: WeatherService
    log: Path
    profiles: Path

    def lines(self) -> list[dict[str, Any]]:
        """Return its log so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def line_of(self, request_id: str) -> dict[str, Any]:
        """Return the line of a request, once it is written."""

        def found() -> list[dict[str, Any]]:
            mine = [line for line in self.lines() if line.get("request_id") == request_id]
            return [line for line in mine if "duration_ms" in line]

        wait_for(lambda: bool(found()), "the line is written")
        (line,) = found()
        return line

    def spans_of(self, trace_id: str, count: int) -> list[Span]:
        """Return the spans of a trace, once so many have come, in the order of their starts."""
        wait_for(lambda: len(self.collector.trace(trace_id)) >= count, "the spans come")
        return sorted(self.collector.trace(trace_id), key=lambda span: span.start)


PAGE = (ROOT / "template/chassis/docs/logs-and-traces.md").read_text(encoding="utf-8")
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
]
SERVING = [line for line in COMMANDS if line.endswith(" make serve")]


@pytest.fixture
def watched(running: Watched) -> Watched:
    """Return the service in a second in which it has told of nothing: there is room for some."""
    second = int(time.monotonic())
    wait_for(lambda: int(time.monotonic()) > second, "the second is over")
    return running


@pytest.fixture(scope="module")
def running(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    log, profiles = folder / "log", folder / "profiles"
    profiles.mkdir()
    with running_collector() as collector, weather_service() as weather:
        service = start_service(
            trained.models,
            folder,
            log=log,
            WEATHER_URL=weather.url,
            OTEL_BSP_SCHEDULE_DELAY="100",
            **dict(each.split("=") for line in SERVING for each in line.split()[:-2]),
            MODEL_SERVICE_TRACES_URL=collector.url,
            MODEL_SERVICE_TRACES_SHARE="1",
            MODEL_SERVICE_PROFILES_DIR=str(profiles),
            MODEL_SERVICE_PROFILE_SECONDS="1",
        )
        yield Watched(service, collector, weather, log, profiles)
        service.process.terminate()
        assert service.process.wait(timeout=60) == 0


def predict(watched: Watched, **headers: str) -> httpx.Response:
    address = f"{watched.service.url}/predict"
    return httpx.post(address, json={"rows": [ROW, ROW]}, headers=headers, trust_env=False)


def ask_route(watched: Watched, flight: dict[str, Any], **headers: str) -> httpx.Response:
    address = f"{watched.service.url}/api/flights"
    return httpx.post(address, json=flight, headers=headers, trust_env=False).raise_for_status()


@pytest.mark.slow
def test_the_line_of_a_request_names_it_its_predictions_and_its_trace(watched: Watched) -> None:
    answer = predict(watched, **{"X-Request-Id": "from-gateway", **SAMPLED})

    assert answer.headers["x-request-id"] == "from-gateway"
    line = watched.line_of("from-gateway")
    (first, _) = answer.json()["prediction_id"]
    assert first == f"{line['prediction_id']}-0"
    assert line["message"] == "POST /predict 200"
    assert line["level"] == "INFO"
    assert line["trace_id"] == TRACE
    assert line["rows"] == 2
    assert line["model_version"] == answer.json()["model_version"]
    assert line["track"] == "stable"
    assert line["duration_ms"] > 0


@pytest.mark.slow
def test_the_request_of_the_page_is_found_by_its_name(watched: Watched) -> None:
    (command,) = (line for line in COMMANDS if line.startswith("curl"))
    there = command.replace("http://localhost:3000", watched.service.url)
    subprocess.run(["sh", "-ec", f"{there} --fail --silent"], check=True, capture_output=True)

    line = watched.line_of("from-the-gateway")
    shown = re.findall(r'"(\w+)":', PAGE.partition("```json")[2].partition("```")[0])
    assert set(shown) <= line.keys() <= {*shown, "trace_id", "span_id"}


@pytest.mark.slow
def test_no_line_and_no_span_has_a_value_of_a_row(watched: Watched) -> None:
    refused = httpx.post(
        f"{watched.service.url}/predict",
        json={"rows": [{**ROW, "carrier": "SECRET"}]},
        headers={"X-Request-Id": "refused"},
    )

    assert refused.status_code == 422
    flight = {**FLIGHT, **departure_in(2), "origin": "LGA"}
    asked = watched.weather.calls
    for answer in (ask_route(watched, flight), predict(watched)):
        line = watched.line_of(answer.headers["x-request-id"])
        watched.spans_of(line["trace_id"], 2)
    assert watched.weather.calls > asked
    for told in (watched.log.read_text(), str(watched.collector.spans)):
        assert "SECRET" not in told
        assert "1234.5" not in told
        assert "LGA" not in told
    assert watched.line_of("refused")["message"] == "POST /predict 422"


@pytest.mark.slow
def test_a_trace_goes_on_from_the_gateway_to_the_model(watched: Watched) -> None:
    trace = "c0" * 16
    answer = predict(watched, traceparent=f"00-{trace}-{PARENT}-01")

    request, model = watched.spans_of(trace, 2)
    assert (request.name, request.kind, request.parent_id) == ("POST /predict", SERVER, PARENT)
    assert request.resource["service.name"] == PROJECT.name
    about = request.attributes
    assert about["http.route"] == "/predict"
    assert about["http.response.status_code"] == 200
    assert about["model_service.rows"] == 2
    assert about["model_service.model_version"] == answer.json()["model_version"]
    assert about["model_service.request_id"] == answer.headers["x-request-id"]
    assert (model.name, model.parent_id) == ("model", request.span_id)
    assert model.attributes["model_service.batch.rows"] >= 2
    assert request.start <= model.start <= model.end <= request.end


@pytest.mark.slow
def test_another_service_is_told_of_the_trace(watched: Watched) -> None:
    trace = "c1" * 16
    flight = {**FLIGHT, **departure_in(2), "origin": "EWR"}

    ask_route(watched, flight, traceparent=f"00-{trace}-{PARENT}-01", tracestate="a=b")

    request, asked, model = watched.spans_of(trace, 3)
    assert request.name == "POST /api/flights"
    assert (asked.kind, asked.parent_id) == (CLIENT, request.span_id)
    assert asked.attributes["server.address"] == "127.0.0.1"
    assert model.parent_id == request.span_id
    (told,) = (headers for _, headers in watched.weather.asked if trace in str(headers))
    assert told["traceparent"] == f"00-{trace}-{asked.span_id}-01"
    assert told["tracestate"] == "a=b"


@pytest.mark.slow
@pytest.mark.parametrize(
    "route", ["/v2/models/{name}/infer", "/v1/models/{name}:predict", "/predictions/{name}"]
)
def test_requests_in_other_protocols_have_lines_too(watched: Watched, route: str) -> None:
    answer = httpx.post(
        f"{watched.service.url}{route.format(name='model')}",
        content=b"{}",
        headers={"X-Request-Id": route.replace("{name}", "of")},
    )

    line = watched.line_of(answer.headers["x-request-id"])
    assert line["message"] == f"POST {route} {answer.status_code}"


@pytest.mark.slow
def test_a_trace_that_nobody_wants_is_only_named(watched: Watched) -> None:
    trace = "c2" * 16

    predict(watched, **{"X-Request-Id": "unwanted", "traceparent": f"00-{trace}-{PARENT}-00"})

    assert watched.line_of("unwanted")["trace_id"] == trace
    wanted = predict(watched)
    watched.spans_of(watched.line_of(wanted.headers["x-request-id"])["trace_id"], 2)
    assert not watched.collector.trace(trace)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["", "two words", "x" * 129, "\u00fc", '"}', "a\tb"])
def test_an_id_that_does_not_belong_into_a_log_is_replaced(watched: Watched, name: str) -> None:
    answer = predict(watched, **{"X-Request-Id": name.encode("latin-1")})  # type: ignore[arg-type]

    assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])
    assert answer.is_success


@pytest.mark.slow
@pytest.mark.parametrize(
    "state", [b"a=\xfc", b"a=b," * 15_000, b"FORGED", b"a=b, FORGED request_id=x", b"a=b,,,="]
)
def test_what_is_no_state_of_a_trace_goes_nowhere(watched: Watched, state: bytes) -> None:
    trace = uuid.uuid4().hex
    parent = f"00-{trace}-{PARENT}-0"
    headers: dict[str, Any] = {"tracestate": state, "traceparent": f"{parent}1"}

    answer = predict(watched, **headers)

    line = watched.line_of(answer.headers["x-request-id"])
    assert line["trace_id"] == trace
    assert "FORGED" not in watched.log.read_text()
    asked = RequestContext({"traceparent": f"{parent}0", "tracestate": state.decode("latin-1")})
    with about(asked):
        asyncio.run(get_weather(watched.weather.url))
    (told,) = (headers for _, headers in watched.weather.asked if trace in str(headers))
    assert told["traceparent"] == f"{parent}0"
    assert "tracestate" not in told


async def get_weather(url: str) -> bytes:
    client = open_client(url, {})
    try:
        return await get(client, "/stations/KJFK")
    finally:
        await client.aclose()


@pytest.mark.slow
@pytest.mark.parametrize("parent", ["", "x", f"00-{'0' * 32}-{PARENT}-01", f"ff-{TRACE}-x-01"])
def test_a_trace_that_is_none_is_left_aside(watched: Watched, parent: str) -> None:
    answer = predict(watched, traceparent=parent)

    assert answer.is_success
    line = watched.line_of(answer.headers["x-request-id"])
    assert line["trace_id"] != "0" * 32
    assert len(line["trace_id"]) == 32


@pytest.mark.slow
def test_a_running_worker_is_profiled(watched: Watched) -> None:
    """The service says how; the page names what took the time."""

    def finished() -> list[Path]:
        return list(watched.profiles.glob("profile-*.html"))

    (command,) = re.findall(r"kill -USR1 \d+", watched.log.read_text())
    many = json.dumps({"rows": [ROW] * 500}).encode()

    def found() -> bool:
        """On a slow machine, a profile may be over before a request comes: begin another."""
        subprocess.run(["sh", "-ec", command], check=True)
        for _ in range(10):
            httpx.post(f"{watched.service.url}/predict", content=many).raise_for_status()
        return any("serving/decode.py" in page.read_text() for page in finished())

    wait_for(found, "a page names what read the rows")
    (worker,) = psutil.Process(watched.service.process.pid).children()
    assert finished()[0].stem.endswith(f"-{worker.pid}")
    assert f"the profile is in {finished()[0]}" in watched.log.read_text()


@pytest.mark.slow
def test_every_line_is_json_those_of_the_server_too(watched: Watched) -> None:
    """The gunicorn that supervises tells of a worker that died."""
    (worker,) = psutil.Process(watched.service.process.pid).children()
    worker.kill()
    wait_for(
        lambda: any(line["logger"] == "gunicorn.error" for line in watched.lines()),
        "the supervisor says so",
    )

    def answers() -> bool:
        try:
            return predict(watched).is_success
        except httpx.TransportError:
            return False

    wait_for(answers, "another worker answers")
    assert {line["level"] for line in watched.lines()} >= {"INFO", "ERROR"}


def ask(
    runtime: Runtime, count: int = 1, headers: dict[str, str] | None = None
) -> list[httpx.Response]:
    """Send requests to the interface in this process, one after another."""

    async def send() -> list[httpx.Response]:
        transport = httpx.ASGITransport(create_app(runtime, endpoints(runtime)))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            runtime.observer.start()
            body = {"rows": [ROW]}
            found = [
                await client.post("/predict", json=body, headers=headers) for _ in range(count)
            ]
            await asyncio.to_thread(runtime.observer.stop)
            return found

    return asyncio.run(send())


def test_a_request_that_fails_has_a_line_and_a_name(caplog: pytest.LogCaptureFixture) -> None:
    runtime = with_model(Stub(error=RuntimeError("it is broken")), log_share=0)

    (answer,) = ask(runtime)

    assert answer.status_code == 503
    (line,) = (record for record in caplog.records if record.name == "model_service.requests")
    assert line.getMessage() == "POST /predict 503"
    assert line.levelno == logging.ERROR
    assert answer.headers["x-request-id"]


def test_of_the_others_a_share_has_one(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observation, "MOST", 200)
    caplog.set_level(logging.INFO)
    told = {}
    for share in (0, 0.5, 1):
        caplog.clear()
        ask(with_model(Stub(), log_share=share), 200)
        told[share] = sum(each.name == "model_service.requests" for each in caplog.records)

    assert told[0] == 0
    assert 40 < told[0.5] < 160  # beyond it once in 10^17
    assert told[1] == 200


def test_a_request_that_is_only_named_has_no_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    (answer,) = ask(with_model(Stub(), log_share=0), headers={"X-Request-Id": "mine"})

    assert answer.headers["x-request-id"] == "mine"
    assert not [each for each in caplog.records if each.name == "model_service.requests"]


def test_what_is_known_of_a_request_is_not_said_of_the_next() -> None:
    """The requests of a connection may share their context."""
    endpoint = endpoints(with_model(Stub(error=RuntimeError()), log_share=0))["/predict"]
    body = json.dumps({"rows": [ROW]}).encode()
    answers: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        answers.append(message)

    async def ask_twice() -> None:
        for _ in range(2):
            await endpoint({"type": "http", "method": "POST", "headers": []}, receive, send)

    asyncio.run(ask_twice())

    headers = [dict(each["headers"]) for each in answers if "headers" in each]
    first, second = (each[b"x-request-id"] for each in headers)
    assert first != second


def test_a_collector_that_is_down_costs_no_prediction_and_its_key_is_not_told(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracing, "SEND_SECONDS", 3)
    monkeypatch.setattr(tracing, "STOP_SECONDS", 60)
    logs.start("text")
    url = f"http://127.0.0.1:{free_port()}/v1/traces?api-key=hunter2"

    answers = ask(with_model(Stub(), traces_url=url, traces_share=1), 3)

    assert all(answer.is_success for answer in answers)
    told = capfd.readouterr().err
    assert "spans are lost: 127.0.0.1 did not take them" in told
    assert "hunter2" not in told


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("OTEL_BSP_SCHEDULE_DELAY", "-1", "OTEL_BSP_SCHEDULE_DELAY must be a positive integer"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "soon", "OTEL_BSP_MAX_QUEUE_SIZE must be a positive integer"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "9", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE must not be more than"),
    ],
)
def test_a_variable_that_opentelemetry_cannot_use_is_named(
    variable: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=said):
        Runtime(CONTRACT, Settings.model_validate({"traces_url": "http://collector/v1/traces"}))


@pytest.mark.parametrize("error", [None, RuntimeError()])
def test_in_a_second_there_is_room_for_some_lines_and_traces(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    second = 7.0
    monkeypatch.setattr(logs, "monotonic", lambda: second)
    with running_collector() as collector:
        settings: dict[str, Any] = {"traces_url": collector.url, "traces_share": 0, "log_share": 1}
        runtime = with_model(Stub(error=error), **settings)
        ask(runtime, 3 * MOST, SAMPLED)
        second = 8.0
        ask(runtime, 1, SAMPLED)

        assert len([span for span in collector.spans if span.kind == SERVER]) == MOST + 1
    told = [each for each in caplog.records if each.name == "model_service.requests"]
    assert len(told) == MOST + 1
    assert vars(told[-1])["dropped"] == 2 * MOST


def test_a_collector_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What sends the last spans still waits for it."""
    monkeypatch.setattr(tracing, "STOP_SECONDS", 0.1)
    monkeypatch.setattr(tracing, "SEND_SECONDS", 600)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1/traces"

        (answer,) = ask(with_model(Stub(), traces_url=url, traces_share=1))

        assert answer.is_success
        assert any(each.name == tracing.STOPPING for each in threading.enumerate())


class FailsFor(Stub):
    """A model that fails for the rows of one carrier."""

    def predict(self, numeric: Numeric, categorical: Categorical) -> Predictions:
        if any("UA" in row for row in categorical.tolist()):
            raise RuntimeError
        return super().predict(numeric, categorical)


def test_the_line_of_a_failing_call_names_its_request_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Others share the first call, and are answered by one of their own."""
    caplog.handler.addFilter(Context())
    with running_collector() as collector:
        runtime = with_model(FailsFor(), traces_url=collector.url, traces_share=1, log_share=0)
        bodies = {name: {**ROW, "carrier": name} for name in ("AA", "UA", "DL")}

        async def send() -> list[httpx.Response]:
            transport = httpx.ASGITransport(create_app(runtime, endpoints(runtime)))
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                runtime.observer.start()
                found = await asyncio.gather(
                    *(
                        client.post(
                            "/predict",
                            json={"rows": [row] * 2},
                            headers={"X-Request-Id": name},
                        )
                        for name, row in bodies.items()
                    )
                )
                await asyncio.to_thread(runtime.observer.stop)
                return found

        assert [each.status_code for each in asyncio.run(send())] == [200, 503, 200]
        calls = [span for span in collector.spans if span.name == "model"]

    failed = [each for each in caplog.records if each.getMessage() == "the model failed"]
    assert [getattr(each, "request_id", "") for each in failed] == ["", "UA"]
    assert (
        sorted(span.attributes["model_service.batch.rows"] for span in calls) == [2] * 3 + [6] * 3
    )
    assert sum(span.failed for span in calls) == 3 + 1


def test_a_slow_call_is_not_said_to_be_of_an_earlier_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.handler.addFilter(Context())
    stub = Stub()
    runtime = with_model(stub, model_seconds=0.05, log_share=0)
    runtime.scorer.use(Model("v1", stub, None, inline_rows=0))

    async def send() -> list[int]:
        transport = httpx.ASGITransport(create_app(runtime, endpoints(runtime)))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:

            async def post(**headers: str) -> int:
                body = {"rows": [ROW]}
                return (await client.post("/predict", json=body, headers=headers)).status_code

            first = asyncio.create_task(post(**{"X-Request-Id": "answered long ago"[:8]}))
            others = [asyncio.create_task(post()) for _ in range(3)]
            found = [await first]
            stub.seconds = 0.5
            return [*found, *[await other for other in others], await post()]

    assert 504 in asyncio.run(send())
    told = [each for each in caplog.records if each.getMessage().startswith("the model took more")]
    assert told
    assert {getattr(each, "request_id", "") for each in told} == {""}


def test_what_is_true_of_the_model_names_no_request(caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.addFilter(Context())
    stub = Stub(seconds=0.1)
    runtime = with_model(stub, model_seconds=0.05)
    runtime.scorer.use(Model("v1", stub, None, inline_rows=1))

    ask(runtime, headers={"X-Request-Id": "mine"})

    (told,) = (each for each in caplog.records if "the model took long" in each.getMessage())
    assert not hasattr(told, "request_id")


def test_a_request_that_fails_is_a_failed_span() -> None:
    with running_collector() as collector:
        ask(with_model(Stub(error=RuntimeError()), traces_url=collector.url, traces_share=1))

        model, request = sorted(collector.spans, key=lambda span: span.kind)
        assert model.failed
        assert request.failed
        assert request.attributes["http.response.status_code"] == 503


@pytest.mark.parametrize(
    "url",
    [
        *("collector:4317", "grpc://collector/v1", "http://", "http://a:99999/v1"),
        *("http://a:4318", "http://a:4318/v1/traces "),
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="MODEL_SERVICE_TRACES_URL: give a whole address"):
        Settings.model_validate({"traces_url": url})


@pytest.mark.parametrize(
    ("module", "setting", "extra"),
    [
        ("opentelemetry.exporter.otlp.proto.http", "traces_url", "tracing"),
        ("pyinstrument", "profiles_dir", "profiling"),
    ],
)
def test_without_its_library_a_setting_says_what_to_add(
    module: str, setting: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    value = "http://collector/v1/traces" if setting == "traces_url" else str(tmp_path)
    given = Settings.model_validate({setting: value})

    line = rf'write dependencies = \["ml-service-chassis\[{extra}\]==(\S+)"\] into'
    with pytest.raises(SettingsError, match=rf"{line} .*: make lock setup$") as raised:
        Runtime(CONTRACT, given)
    found = re.search(line, str(raised.value))
    assert found
    assert f'"ml-service-chassis=={found[1]}"' in (ROOT / "template/pyproject.toml").read_text()
    assert set(re.findall(r"ml-service-chassis\[[\w,]+\]==([\d.*]+)", PAGE)) == {found[1]}


def test_a_folder_for_profiles_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="MODEL_SERVICE_PROFILES_DIR: .*none is no folder"):
        Runtime(CONTRACT, Settings(profiles_dir=str(tmp_path / "none")))


def test_an_observer_that_never_started_ends() -> None:
    Observer(Settings()).stop()
