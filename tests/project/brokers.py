"""Real brokers on this machine, each on a free port, which keep what they have on disk."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import nats
import pytest
import redis

from project.containers import wait_for
from project.service import free_port

START_SECONDS = 20
T = TypeVar("T")


class Broker(Protocol):
    """A broker that tests start, stop and look into."""

    url: str

    def start(self) -> None:
        """Start it, with what it had before."""

    def stop(self) -> None:
        """Stop it as a restart of its machine would."""

    def send(self, topic: str, bodies: Iterable[bytes]) -> None:
        """Put messages on a topic."""

    def read(self, topic: str) -> list[bytes]:
        """Return all messages that a topic ever had."""

    def pending(self, topic: str, group: str) -> int:
        """Return how many messages a group has not acknowledged."""

    def lose(self, topic: str) -> None:
        """Delete a topic, and the groups with it."""


class _Server:
    command: tuple[str, ...]

    def __init__(self, folder: Path) -> None:
        self.port, self._folder = free_port(), folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = found(self.command[0])
        values = {"port": self.port, "folder": self._folder}
        options = [each.format(**values) for each in self.command[1:]]
        with (self._folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen([program, *options], stdout=log, stderr=log)
        wait_for(self._answers, START_SECONDS, f"{program} answers")

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait(START_SECONDS)

    def _answers(self) -> bool:
        raise NotImplementedError


class Redis(_Server):
    """Streams, each change on disk before it is answered."""

    command = (
        *("redis-server", "--bind", "127.0.0.1", "--port", "{port}", "--dir", "{folder}"),
        *("--save", "", "--appendonly", "yes", "--appendfsync", "always"),
    )

    @property
    def url(self) -> str:
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
    def url(self) -> str:
        """Where it is."""
        return f"nats://127.0.0.1:{self.port}"

    def send(self, topic: str, bodies: Iterable[bytes]) -> None:
        """Publish to the stream that the consumer has made, or makes the same now."""
        self._run(self._send(topic, list(bodies)))

    async def _send(self, topic: str, bodies: list[bytes]) -> None:
        async with await nats.connect(self.url) as client:
            stream = client.jetstream()
            await stream.add_stream(name=topic, subjects=[topic])
            for body in bodies:
                await client.publish(topic, body)
            await client.flush()

    def read(self, topic: str) -> list[bytes]:
        """Return the data of each message."""
        return self._run(self._read(topic))

    async def _read(self, topic: str) -> list[bytes]:
        found: list[bytes] = []
        async with await nats.connect(self.url) as client:
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

    def pending(self, topic: str, group: str) -> int:
        """Return what was not handed over or not acknowledged."""

        async def ask() -> int:
            async with await nats.connect(self.url) as client:
                found = await client.jetstream().consumer_info(topic, group)
                return (found.num_ack_pending or 0) + (found.num_pending or 0)

        return self._run(ask())

    def lose(self, topic: str) -> None:
        """Delete the stream."""

        async def ask() -> None:
            async with await nats.connect(self.url) as client:
                await client.jetstream().delete_stream(topic)

        self._run(ask())

    def _answers(self) -> bool:
        async def ask() -> None:
            async with await nats.connect(self.url, allow_reconnect=False) as client:
                await client.jetstream().account_info()

        try:
            self._run(ask())
        except (OSError, nats.errors.Error):
            return False
        return True

    def _run(self, asked: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(asyncio.wait_for(asked, 60))


def found(program: str) -> str:
    """Return where a server is, or skip the test and say that it is missing."""
    path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if not path:
        # Where it must not be missed, as in our own CI, a missing broker is a failure.
        if os.environ.get("REQUIRE_CONTAINER_ENGINE"):
            raise RuntimeError(f"install {program}")
        pytest.skip(f"NO BROKER IS TESTED: {program} is not installed")
    return path
