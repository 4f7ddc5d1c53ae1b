"""Real brokers on this machine, each on a free port, which keep what they have when they restart.

Kafka's is the one that librdkafka holds for tests: it speaks the protocol, with groups and offsets.
"""

import asyncio
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import nats
import pytest
import redis

from ml_chassis.programs import free_port
from waiting import wait_for

STOP_SECONDS = 60
T = TypeVar("T")
Asked = Callable[[Any], Awaitable[T]]


class Broker(ABC):
    """A broker that tests start, stop and look into."""

    url: str

    @abstractmethod
    def start(self) -> None:
        """Start it, with what it had before."""

    @abstractmethod
    def stop(self) -> None:
        """Stop it as a restart of its machine would."""

    def close(self) -> None:
        """Stop it for good."""
        self.stop()

    @abstractmethod
    def send(self, topic: str, bodies: Iterable[bytes]) -> None:
        """Put messages on a topic, in this order."""

    @abstractmethod
    def read(self, topic: str) -> list[bytes]:
        """Return all messages that a topic ever had."""

    @abstractmethod
    def pending(self, topic: str, group: str) -> int:
        """Return how many messages a group that has stopped did not acknowledge."""

    @abstractmethod
    def lose(self, topic: str) -> None:
        """Delete a topic, and the groups with it."""


class _Server(Broker):
    """A program of its own."""

    command: tuple[str, ...]

    def __init__(self, folder: Path) -> None:
        self.port, self._folder = free_port(), folder
        self._program = found(self.command[0])
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        values = {"port": self.port, "folder": self._folder}
        options = [each.format(**values) for each in self.command[1:]]
        with (self._folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, *options],
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment()},
                start_new_session=True,
            )
        wait_for(self._answers, f"{self._program} answers")

    def stop(self) -> None:
        if self._process and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)  # a script may stand before the server
            self._process.wait(STOP_SECONDS)

    def _environment(self) -> dict[str, str]:
        return {}

    @abstractmethod
    def _answers(self) -> bool:
        pass


class Redis(_Server):
    """Streams, each change on disk before it is answered."""

    command = (
        *("redis-server", "--bind", "127.0.0.1", "--port", "{port}", "--dir", "{folder}"),
        *("--save", "", "--appendonly", "yes", "--appendfsync", "always"),
    )

    @property
    def url(self) -> str:  # type: ignore[override]
        """Where it is."""
        return f"redis://127.0.0.1:{self.port}"

    def send(self, topic: str, bodies: Iterable[bytes]) -> None:
        """Add entries as a program without FastStream does."""
        with redis.Redis(port=self.port) as client:
            pipeline = client.pipeline(transaction=False)
            for body in bodies:
                pipeline.xadd(topic, {"event": body})
            pipeline.execute()

    def read(self, topic: str) -> list[bytes]:
        """Return the field of each entry."""
        with redis.Redis(port=self.port) as client:
            entries: Any = client.xrange(topic)
            return [next(iter(fields.values())) for _, fields in entries]

    def pending(self, topic: str, group: str) -> int:
        """Return what was not handed over or not acknowledged."""
        with redis.Redis(port=self.port) as client:
            groups: Any = client.xinfo_groups(topic)
            (found,) = (each for each in groups if each["name"] == group.encode())
            last = found["last-delivered-id"].decode()
            waiting: Any = client.xrange(topic, f"({last}")
            return int(found["pending"]) + len(waiting)

    def lose(self, topic: str) -> None:
        """Delete the stream."""
        with redis.Redis(port=self.port) as client:
            client.delete(topic)

    def _answers(self) -> bool:
        try:
            with redis.Redis(port=self.port) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


class Nats(_Server):
    """JetStream on disk."""

    command = ("nats-server", "-a", "127.0.0.1", "-p", "{port}", "-js", "-sd", "{folder}")

    @property
    def url(self) -> str:  # type: ignore[override]
        """Where it is."""
        return f"nats://127.0.0.1:{self.port}"

    def send(self, topic: str, bodies: Iterable[bytes]) -> None:
        """Publish to the stream that the consumer has made, or makes the same now."""

        async def ask(client: Any) -> None:
            await client.jetstream().add_stream(name=_stream(topic), subjects=[topic])
            for body in bodies:
                await client.publish(topic, body)
            await client.flush()

        self._run(ask)

    def read(self, topic: str) -> list[bytes]:
        """Return the data of each message."""

        async def ask(client: Any) -> list[bytes]:
            found: list[bytes] = []
            stream = client.jetstream()
            try:
                name = await stream.find_stream_name_by_subject(topic)
            except nats.js.errors.NotFoundError:
                return found
            total = (await stream.stream_info(name)).state.messages
            reader = await stream.pull_subscribe(topic)
            while len(found) < total:
                messages = await reader.fetch(1_000, timeout=5)
                for message in messages:
                    await message.ack()
                found += [message.data for message in messages]
            return found

        return self._run(ask)

    def pending(self, topic: str, group: str) -> int:
        """Return what was not handed over or not acknowledged."""

        async def ask(client: Any) -> int:
            found = await client.jetstream().consumer_info(_stream(topic), group)
            return (found.num_ack_pending or 0) + (found.num_pending or 0)

        return self._run(ask)

    def lose(self, topic: str) -> None:
        """Delete the stream that has the subject."""

        async def ask(client: Any) -> None:
            stream = client.jetstream()
            await stream.delete_stream(await stream.find_stream_name_by_subject(topic))

        self._run(ask)

    def _answers(self) -> bool:
        try:
            self._run(lambda client: client.jetstream().account_info(), allow_reconnect=False)
        except (OSError, nats.errors.Error):
            return False
        return True

    def _run(self, ask: Asked[T], **options: Any) -> T:
        async def connected() -> T:
            async with await nats.connect(self.url, **options) as client:
                return await ask(client)

        return _run(connected())


def _stream(subject: str) -> str:
    return re.sub(r"\W", "_", subject)


class Rabbit(_Server):
    """Queues on disk."""

    command = ("/usr/lib/rabbitmq/bin/rabbitmq-server",)

    @property
    def url(self) -> str:  # type: ignore[override]
        """Where it is."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}"

    def __init__(self, folder: Path) -> None:
        """Choose ports for it and its mapper of names."""
        super().__init__(folder)
        self._names, self._others = free_port(), free_port()
        self._taken: dict[str, list[bytes]] = defaultdict(list)

    def close(self) -> None:
        """Stop the mapper too, which the first node has started."""
        self.stop()
        environment = {**os.environ, **self._environment()}
        subprocess.run(["epmd", "-kill"], env=environment, check=True, capture_output=True)

    def send(self, topic: str, bodies: Iterable[bytes]) -> None:
        """Publish to the queue, which is made where there is none."""
        from aio_pika import Message  # noqa: PLC0415 - slow

        async def ask(channel: Any) -> None:
            queue = await self._declared(channel, topic)
            for body in bodies:
                await channel.default_exchange.publish(Message(body, delivery_mode=2), queue.name)

        self._run(ask)

    @contextmanager
    def exclusively(self, topic: str) -> Iterator[None]:
        """Consume a queue that is made where there is none, and let nobody else do so."""
        from aio_pika import connect  # noqa: PLC0415 - slow

        async def begin() -> Any:
            connection = await connect(self.url)
            queue = await self._declared(await connection.channel(), topic)
            await queue.consume(lambda _: None, exclusive=True)
            return connection

        with asyncio.Runner() as runner:
            connection = runner.run(begin())
            yield
            runner.run(connection.close())

    def declare(self, topic: str, **arguments: str) -> None:
        """Make a queue."""

        async def ask(channel: Any) -> None:
            await channel.declare_queue(topic, durable=True, arguments=arguments)

        self._run(ask)

    def read(self, topic: str) -> list[bytes]:
        """Take what is there, and return it with what was taken before."""

        async def ask(channel: Any) -> None:
            queue = await self._declared(channel, topic)
            for _ in range(queue.declaration_result.message_count):
                self._taken[topic].append((await queue.get(no_ack=True)).body)

        self._run(ask)
        return self._taken[topic]

    def pending(self, topic: str, group: str) -> int:  # noqa: ARG002 - all share the queue
        """Return what is in the queue."""

        async def ask(channel: Any) -> int:
            queue = await channel.declare_queue(topic, passive=True)
            return int(queue.declaration_result.message_count)

        return self._run(ask)

    def lose(self, topic: str) -> None:
        """Delete the queue."""
        self._run(lambda channel: channel.queue_delete(topic))

    async def _declared(self, channel: Any, topic: str) -> Any:
        from aio_pika.exceptions import ChannelNotFoundEntity  # noqa: PLC0415 - slow

        try:
            return await channel.declare_queue(topic, passive=True)
        except ChannelNotFoundEntity:
            await channel.reopen()
            return await channel.declare_queue(topic, durable=True)

    def _run(self, ask: Asked[T]) -> T:
        from aio_pika import connect  # noqa: PLC0415 - slow

        async def connected() -> T:
            async with await connect(self.url) as connection, connection.channel() as channel:
                return await ask(channel)

        return _run(connected())

    def _answers(self) -> bool:
        with socket.socket() as probe:  # it listens when all else is there
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _environment(self) -> dict[str, str]:
        return {
            "HOME": str(self._folder),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._names),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_DIST_PORT": str(self._others),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            "RABBITMQ_LOG_BASE": str(self._folder),
            "RABBITMQ_MNESIA_BASE": str(self._folder),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
        }


class Kafka(Broker):
    """What librdkafka runs in this process; while it is stopped, it keeps all in memory."""

    def __init__(self, _: Path) -> None:
        """Make it; see rdkafka_mock.h."""
        from confluent_kafka import cimpl  # noqa: PLC0415 - slow

        library = ctypes.CDLL(cimpl.__file__)
        pointer = ctypes.c_void_p
        library.rd_kafka_conf_new.restype = library.rd_kafka_new.restype = pointer
        library.rd_kafka_mock_cluster_new.restype = pointer
        library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
        why = ctypes.create_string_buffer(512)
        conf = pointer(library.rd_kafka_conf_new())
        self._client = pointer(library.rd_kafka_new(0, conf, why, len(why)))
        assert self._client, why.value
        self._cluster = pointer(library.rd_kafka_mock_cluster_new(self._client, 1))
        self._library, self._topics = library, set[str]()
        self._call("group_initial_rebalance_delay_ms", 0)
        self._server = library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        self.url = f"kafka://{self._server}"

    def start(self) -> None:
        """Let it answer."""
        self._call("broker_set_up", 1)

    def stop(self) -> None:
        """Let it answer nobody."""
        self._call("broker_set_down", 1)

    def close(self) -> None:
        """Free what it has."""
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._client)

    def make(self, *topics: str) -> None:
        """Make topics of one partition: over several, there is no order."""
        for topic in set(topics) - self._topics:
            self._call("topic_create", topic.encode(), 1, 1)
        self._topics |= set(topics)

    def send(self, topic: str, bodies: Iterable[bytes]) -> None:
        """Send to the only partition."""
        from aiokafka import AIOKafkaProducer  # noqa: PLC0415 - slow

        self.make(topic)

        async def ask() -> None:
            async with AIOKafkaProducer(bootstrap_servers=self._server) as producer:
                for body in bodies:
                    await producer.send(topic, body)

        _run(ask())

    def read(self, topic: str) -> list[bytes]:
        """Read from the first to the last."""

        async def ask(consumer: Any, partition: Any) -> list[bytes]:
            end = (await consumer.end_offsets([partition]))[partition]
            return [(await consumer.getone()).value for _ in range(end)]

        return self._run(topic, ask, auto_offset_reset="earliest")

    def pending(self, topic: str, group: str) -> int:
        """Return what comes after the offset that is committed."""

        async def ask(consumer: Any, partition: Any) -> int:
            end = (await consumer.end_offsets([partition]))[partition]
            return int(end - (await consumer.committed(partition) or 0))

        return self._run(topic, ask, group_id=group, enable_auto_commit=False)

    def lose(self, topic: str) -> None:
        """Delete the topic."""
        raise NotImplementedError

    def _run(self, topic: str, ask: Callable[[Any, Any], Awaitable[T]], **options: Any) -> T:
        from aiokafka import AIOKafkaConsumer, TopicPartition  # noqa: PLC0415 - slow

        self.make(topic)

        async def connected() -> T:
            async with AIOKafkaConsumer(bootstrap_servers=self._server, **options) as consumer:
                partition = TopicPartition(topic, 0)
                consumer.assign([partition])
                return await ask(consumer, partition)

        return _run(connected())

    def _call(self, function: str, *arguments: Any) -> None:
        failed = getattr(self._library, f"rd_kafka_mock_{function}")(self._cluster, *arguments)
        assert not failed, (function, failed)


def _run(asked: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(asked, STOP_SECONDS))


def found(program: str) -> str:
    """Return where a server is, or skip the test and say that it is missing."""
    path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if not path:
        # Where it must not be missed, as in our own CI, a missing broker is a failure.
        if "REQUIRE_SERVERS" in os.environ:
            raise RuntimeError(f"install {program}")
        pytest.skip(f"NO BROKER IS TESTED: {program} is not installed")
    return path
