"""What differs between the brokers: how each keeps a topic, hands over messages and is answered.

On each of them messages wait until they are acknowledged, and come again where they are not.
"""

import asyncio
import json
import re
import socket
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ..settings import PREFIX
from . import StreamError, brief
from .events import Received

BATCH = 256
"""Messages that are taken at once at most."""
AGAIN_SECONDS = 10
"""After so long, what was taken and not acknowledged comes again: its consumer is gone."""
CONNECT_SECONDS = 5
GRACE_SECONDS = 10

Consume = Callable[[Sequence[Received]], Awaitable[None]]


class Topics(NamedTuple):
    """The topics of one kind of consumer, and the group in which several share the first.

    Attributes:
        source: What is consumed.
        predictions: What answers events; empty where labels are consumed.
        dead_letters: What is told of messages that are not valid.
        group: The name of the group, of the durable consumer on NATS.
    """

    source: str
    predictions: str
    dead_letters: str
    group: str

    @classmethod
    def of(cls, events: str, model: str) -> "Topics":
        """Return the topics of a model that reads events."""
        return cls(events, f"{model}.predictions", f"{model}.dead-letters", model)

    @classmethod
    def of_labels(cls, labels: str, model: str) -> "Topics":
        """Return the topics of what reads labels of a model."""
        return cls(labels, "", f"{model}.dead-letters", f"{model}-labels")

    @property
    def names(self) -> list[str]:
        """All topics."""
        return [name for name in (self.source, self.predictions, self.dead_letters) if name]


class Stream(ABC):
    """A broker."""

    broker: Any
    """The one of FastStream, which connects and starts."""

    @abstractmethod
    async def prepare(self) -> None:
        """Make the topics that do not exist."""

    @abstractmethod
    def subscribe(self, consume: Consume) -> None:
        """Give it the messages, from the first that the group has not acknowledged on."""

    @abstractmethod
    async def publish(self, topic: str, key: str, body: bytes) -> None:
        """Return once the broker has the message."""

    async def lost(self) -> bool:
        """Return whether a topic or the group is gone, for which the consumer would wait."""
        return False

    async def stop(self) -> None:
        """Finish what was taken, and disconnect; a broker that hangs is not waited for."""
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS + CONNECT_SECONDS):
                await self.broker.stop()


class Redis(Stream):
    """Streams with a consumer group; an entry holds the message in the field `__data__`."""

    def __init__(self, url: str, topics: Topics, options: dict[str, Any]) -> None:
        """Take the address."""
        from faststream.redis import RedisBroker
        from faststream.redis.parser import MessageFormat

        class Plain(MessageFormat):
            """The message and nothing around it, for programs without FastStream."""

            @classmethod
            async def encode(cls, *, message: Any, **_: Any) -> bytes:
                return bytes(message or b"")  # a handler that returns nothing, in memory

            @classmethod
            def parse(cls, data: bytes) -> tuple[bytes, dict[str, Any]]:
                return data, {}

        self.broker = RedisBroker(url, message_format=Plain, **options)
        self._topics = topics

    async def prepare(self) -> None:
        """Make the group, which begins with the first entry."""
        from redis.exceptions import ResponseError

        client = await self.broker.connect()
        try:
            await client.xgroup_create(self._topics.source, self._topics.group, "0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def subscribe(self, consume: Consume) -> None:
        """Read new entries, and those of consumers that are gone."""
        from faststream.redis import StreamSub

        async def parse(raw: Any, original: Any) -> Any:
            # The parser of FastStream fails on a batch with a body that is no text.
            message = await original({**raw, "data": []})
            message.body = raw["data"]
            return message

        async def decode(message: Any) -> list[Received]:
            # In FastStream's memory there are no ids.
            ids = message.raw_message["message_ids"] or [b"0-0"] * len(message.body)
            return [
                Received(f"{self._topics.source} {name.decode()}", _only_field(fields))
                for name, fields in zip(ids, message.body, strict=True)
            ]

        for min_idle_time in (None, AGAIN_SECONDS * 1_000):
            stream = StreamSub(
                self._topics.source,
                group=self._topics.group,
                consumer=socket.gethostname(),
                batch=True,
                max_records=BATCH,
                polling_interval=500,
                min_idle_time=min_idle_time,
            )
            self.broker.subscriber(stream=stream, parser=parse, decoder=decode)(consume)

    async def lost(self) -> bool:
        """FastStream stops then."""
        return not all(subscriber.running for subscriber in self.broker.subscribers)

    async def publish(self, topic: str, key: str, body: bytes) -> None:
        """Add an entry."""
        await self.broker.publish(body, stream=topic, correlation_id=key)


def _only_field(fields: dict[bytes, bytes]) -> bytes:
    """Return the message of an entry; where it has other fields, all of them, for people."""
    if len(fields) == 1:
        return next(iter(fields.values()))
    shown = {
        name.decode("utf-8", "backslashreplace"): repr(value) for name, value in fields.items()
    }
    return json.dumps(shown).encode()


class Nats(Stream):
    """JetStream with a durable consumer; a topic is a subject, kept by a stream."""

    def __init__(self, url: str, topics: Topics, options: dict[str, Any]) -> None:
        """Take the address, or several with commas between them."""
        from faststream.nats import NatsBroker

        self.broker = NatsBroker(url.split(","), max_reconnect_attempts=-1, **options)
        self._topics = topics
        self._streams: dict[str, str] = {}

    async def prepare(self) -> None:
        """Find the streams that keep the subjects, or make them."""
        from nats.js.errors import NotFoundError

        client = await self.broker.connect()
        jetstream = client.jetstream()
        for subject in self._topics.names:
            try:
                stream = await jetstream.find_stream_name_by_subject(subject)
            except NotFoundError:
                stream = re.sub(r"\W", "_", subject)
                await jetstream.add_stream(name=stream, subjects=[subject])
            self._streams[subject] = stream

    def subscribe(self, consume: Consume) -> None:
        """Pull what waits."""
        from faststream.nats import JStream, PullSub
        from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

        async def decode(message: Any) -> list[Received]:
            raw = message.raw_message
            return [Received(f"{raw.subject} {_sequence(raw)}", raw.data)]

        name = self._streams.get(self._topics.source, self._topics.source)
        self.broker.subscriber(
            self._topics.source,
            stream=JStream(name, declare=False),
            durable=self._topics.group,
            deliver_policy=DeliverPolicy.ALL,
            pull_sub=PullSub(batch_size=BATCH),
            config=ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, ack_wait=AGAIN_SECONDS),
            decoder=decode,
        )(consume)

    async def lost(self) -> bool:
        """Ask: a consumer that waits is not told."""
        from nats.js.errors import NotFoundError

        jetstream = (await self.broker.connect()).jetstream()
        try:
            await jetstream.consumer_info(self._streams[self._topics.source], self._topics.group)
            for stream in self._streams.values():
                await jetstream.stream_info(stream)
        except NotFoundError:
            return True
        except Exception:  # the broker is away, and comes back
            return False
        return False

    async def publish(self, topic: str, key: str, body: bytes) -> None:
        """Publish, and wait until the stream has it."""
        stream = self._streams.get(topic, topic)
        await self.broker.publish(body, topic, stream=stream, correlation_id=key)


def _sequence(raw: Any) -> str:
    with suppress(Exception):  # in FastStream's memory there is none
        return str(raw.metadata.sequence.stream)
    return "0"


class Rabbit(Stream):
    """Durable queues on the default exchange, of whatever type they are."""

    def __init__(self, url: str, topics: Topics, options: dict[str, Any]) -> None:
        """Take the address."""
        from faststream.rabbit import Channel, RabbitBroker

        channel = Channel(prefetch_count=BATCH, on_return_raises=True)
        self.broker = RabbitBroker(url, default_channel=channel, **options)
        self._url, self._topics = url, topics
        self._asking: Any = None

    async def prepare(self) -> None:
        """Make the queues that do not exist, of the type that their virtual host prefers."""
        for name in self._topics.names:
            if not await self._exists(name):
                async with self._asking.channel() as channel:
                    await channel.declare_queue(name, durable=True)

    def subscribe(self, consume: Consume) -> None:
        """Let the broker push, so many at once."""
        from faststream.rabbit import RabbitQueue

        async def decode(message: Any) -> list[Received]:
            name = message.raw_message.message_id or ""
            return [Received(f"{self._topics.source} {name}".strip(), message.body)]

        queue = RabbitQueue(self._topics.source, declare=False)
        self.broker.subscriber(queue, decoder=decode)(consume)

    async def publish(self, topic: str, key: str, body: bytes) -> None:
        """Publish, and wait for the confirmation."""
        await self.broker.publish(body, topic, persist=True, message_id=key)

    async def lost(self) -> bool:
        """Ask: a consumer whose queue is gone is not told, or connects again for ever."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return not all([await self._exists(name) for name in self._topics.names])
        except Exception:  # the broker is away, and comes back: then it is asked anew
            await self._hang_up()
            return False

    async def stop(self) -> None:
        """Disconnect what asks, too."""
        await super().stop()
        await self._hang_up()

    async def _hang_up(self) -> None:
        asking, self._asking = self._asking, None
        if asking:
            with suppress(Exception):  # the broker may be away
                async with asyncio.timeout(CONNECT_SECONDS):
                    await asking.close()

    async def _exists(self, name: str) -> bool:
        """Ask, on a connection of its own: that of FastStream waits for queues that are gone."""
        from aio_pika import connect
        from aio_pika.exceptions import ChannelNotFoundEntity

        self._asking = self._asking or await connect(self._url)
        try:
            async with self._asking.channel() as channel:
                await channel.declare_queue(name, passive=True)
        except ChannelNotFoundEntity:
            return False
        return True


class Kafka(Stream):
    """A consumer group; the key of a message of ours is its id."""

    def __init__(self, url: str, topics: Topics, options: dict[str, Any]) -> None:
        """Take one address or several with commas between them, after kafka://."""
        from faststream.kafka import KafkaBroker

        servers = url.removeprefix("kafka://").rstrip("/").split(",")
        self.broker = KafkaBroker(servers, acks="all", **options)
        self._topics = topics

    async def prepare(self) -> None:
        """Leave topics to whoever runs Kafka, or to Kafka itself."""
        await self.broker.connect()

    def subscribe(self, consume: Consume) -> None:
        """Read batches; offsets are committed after each."""

        async def parse(records: Any, original: Any) -> Any:
            for record in records:
                record.headers = ()  # they are not used, and one that is no text would fail
            return await original(records)

        async def decode(message: Any) -> list[Received]:
            return [
                Received(f"{each.topic} {each.partition}/{each.offset}", each.value or b"")
                for each in message.raw_message
            ]

        self.broker.subscriber(
            self._topics.source,
            group_id=self._topics.group,
            auto_offset_reset="earliest",
            session_timeout_ms=AGAIN_SECONDS * 1_000,
            heartbeat_interval_ms=AGAIN_SECONDS * 1_000 // 3,
            batch=True,
            max_records=BATCH,
            parser=parse,
            decoder=decode,
        )(consume)

    async def publish(self, topic: str, key: str, body: bytes) -> None:
        """Publish, and wait until all replicas have it."""
        await self.broker.publish(body, topic, key=key.encode())


KINDS: dict[str, Callable[[str, Topics, dict[str, Any]], Stream]] = {
    "redis": Redis,
    "rediss": Redis,
    "nats": Nats,
    "tls": Nats,
    "amqp": Rabbit,
    "amqps": Rabbit,
    "kafka": Kafka,
}


def make_stream(url: str, topics: Topics, logger: Any) -> Stream:
    """Return the broker that a URL names, not connected.

    Raises:
        StreamError: it names none, or the library for it is not installed.
    """
    from faststream import AckPolicy

    scheme = urlsplit(url).scheme
    if scheme not in KINDS:
        raise StreamError(
            f"{PREFIX}BROKER_URL: give redis://, nats://, amqp:// or kafka://, not {scheme}://."
        )
    options = {
        "ack_policy": AckPolicy.NACK_ON_ERROR,
        "apply_types": False,
        "graceful_timeout": GRACE_SECONDS,
        "logger": logger,
    }
    try:
        return KINDS[scheme](url, topics, options)
    except ValueError as error:
        raise StreamError(f"{PREFIX}BROKER_URL: {hide_password(url)}: {brief(error)}.") from None


async def connect(stream: Stream, url: str) -> None:
    """Connect to a broker and make its topics.

    Raises:
        StreamError: it does not answer, or refuses.
    """
    async with _refusing(stream, url), asyncio.timeout(CONNECT_SECONDS):
        await stream.prepare()


async def start(stream: Stream, url: str) -> None:
    """Start to consume, where something was subscribed, and be able to publish.

    Raises:
        StreamError: the broker refuses.
    """
    async with _refusing(stream, url):
        await stream.broker.start()


@asynccontextmanager
async def _refusing(stream: Stream, url: str) -> AsyncIterator[None]:
    try:
        yield
    except Exception as error:
        with suppress(Exception):
            await stream.stop()
        raise StreamError(
            f"{hide_password(url)} cannot be used: {brief(error)}. Does the broker run there?"
        ) from error


def hide_password(url: str) -> str:
    """Return the address of a broker as it may be shown."""
    return re.sub("//[^,]*@", "//***@", url.partition("?")[0])
