"""Each broker hands over messages as they came; all of it in memory, without a broker."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest
from faststream.kafka import TestKafkaBroker
from faststream.nats import TestNatsBroker
from faststream.rabbit import TestRabbitBroker
from faststream.redis.testing import PEL, TestRedisBroker

from ml_chassis.streaming import StreamError, brokers
from ml_chassis.streaming.brokers import Topics, connect, hide_password, make_stream
from ml_chassis.streaming.events import Received

TOPICS = Topics.of("events", "model")


class Pending(PEL):
    """Entries by ids of FastStream, which messages of ours do not have."""

    def _remove(self, correlation_id: Any) -> None:
        self.entries.pop(correlation_id, None)


BROKERS: dict[str, Any] = {
    "redis://localhost": lambda broker: TestRedisBroker(broker, pel=Pending()),
    "nats://localhost": TestNatsBroker,
    "amqp://localhost": TestRabbitBroker,
    "kafka://localhost": TestKafkaBroker,
}
BODIES = [b'{"id": "a"}', b"\xff\x00", b'{"data": "x"}', b"no JSON"]


@pytest.mark.parametrize("url", BROKERS)
def test_a_message_is_handed_over_as_it_came(url: str) -> None:
    taken: list[Received] = []

    async def consume(received: Sequence[Received]) -> None:
        taken.extend(received)

    async def run() -> None:
        stream = make_stream(url, TOPICS, None)
        stream.subscribe(consume)
        async with BROKERS[url](stream.broker):
            for body in BODIES:
                await stream.publish(TOPICS.source, "key", body)

    asyncio.run(run())

    # In memory, FastStream now and then gives an entry of Redis to the second reader as well.
    assert list(dict.fromkeys(each.body for each in taken)) == BODIES
    assert all(each.origin.startswith("events") for each in taken)


@pytest.mark.parametrize("url", ["nats://localhost", "amqp://localhost"])
def test_what_was_not_settled_is_not_acknowledged(url: str) -> None:
    async def fail(_: Sequence[Received]) -> None:
        raise RuntimeError("not settled")

    async def run() -> None:
        stream = make_stream(url, TOPICS, logging.getLogger("test"))
        stream.subscribe(fail)
        async with BROKERS[url](stream.broker):
            with pytest.raises(RuntimeError, match="not settled"):
                await stream.publish(TOPICS.source, "key", b"{}")

    asyncio.run(run())


def test_a_wrong_address_is_refused_and_named() -> None:
    with pytest.raises(StreamError, match=r"BROKER_URL: give redis://.*, not mqtt://"):
        make_stream("mqtt://localhost", TOPICS, None)
    with pytest.raises(StreamError, match=r"BROKER_URL: redis://\*\*\*@localhost:x: .*integer"):
        make_stream("redis://me:secret@localhost:x", TOPICS, None)


@pytest.mark.parametrize("scheme", ["redis", "nats", "amqp"])
def test_a_broker_that_does_not_answer_is_named_without_its_password(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(brokers, "CONNECT_SECONDS", 1)
    url = f"{scheme}://me:secret@127.0.0.1:1"

    async def run() -> None:
        await connect(make_stream(url, TOPICS, None), url)

    with pytest.raises(
        StreamError, match=r"127\.0\.0\.1:1 cannot be used: .*Does the broker run"
    ) as raised:
        asyncio.run(run())
    assert "secret" not in str(raised.value)


def test_passwords_are_hidden() -> None:
    assert hide_password("redis://me:a/b@c@host:6379/0?password=x") == "redis://***@host:6379/0"
    assert hide_password("nats://a:b@one,nats://c:d@two") == "nats://***@one,nats://***@two"
    assert hide_password("kafka://one:9092,two:9092") == "kafka://one:9092,two:9092"
