"""Brokers that run, and a consumer of each."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from brokers import Broker, Kafka, Nats, Rabbit, Redis
from chassis.streaming.processes import Consumer
from ml_chassis.streaming.brokers import Topics
from ml_chassis.testing import Trained

NUMBERS = count()


@pytest.fixture(scope="module")
def running() -> Iterator[dict[type[Broker], Broker]]:
    """Keep the brokers that run, one of a kind."""
    found: dict[type[Broker], Broker] = {}
    yield found
    for each in found.values():
        each.close()


@pytest.fixture(params=[Redis, Nats, Rabbit, Kafka], ids=lambda kind: kind.__name__)
def broker(
    request: pytest.FixtureRequest,
    running: dict[type[Broker], Broker],
    tmp_path_factory: pytest.TempPathFactory,
) -> Broker:
    """Return a broker that runs."""
    if request.param not in running:
        made: Broker = request.param(tmp_path_factory.mktemp("broker"))
        made.start()
        running[request.param] = made
    return running[request.param]


@pytest.fixture
def topics(broker: Broker) -> Topics:
    """Return topics that no other test has."""
    number = next(NUMBERS)
    made = Topics.of(f"events-{number}", f"model-{number}")
    if isinstance(broker, Kafka):
        broker.make(*made.names)
    return made


@pytest.fixture
def settings(broker: Broker, topics: Topics, trained: Trained, tmp_path: Path) -> dict[str, str]:
    """Return what consumers are told."""
    given = {
        "BROKER_URL": broker.url,
        "DATABASE_URL": f"sqlite:///{tmp_path}/stream.db",
        "MODELS_DIR": str(trained.models),
        "MODEL_NAME": topics.group,
        "TOPIC": topics.source,
    }
    return {f"MODEL_SERVICE_{name}": value for name, value in given.items()}


@pytest.fixture
def consumer(topics: Topics, settings: dict[str, str], tmp_path: Path) -> Iterator[Consumer]:
    """Return a consumer of events that is not started."""
    made = Consumer(topics, settings, tmp_path)
    yield made
    made.end()
