"""A server that speaks S3 over HTTP, for a registry in object storage."""

import logging
import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from moto.s3.responses import S3Response
from moto.server import ThreadedMotoServer

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_MAX_ATTEMPTS": "1",
}

_put, _putting = S3Response.put_object, threading.Lock()


def _put_one(self: S3Response) -> tuple[int, dict[str, Any], str | bytes]:
    """Write under a condition in one step, as S3 does: moto looks first, and then writes."""
    with _putting:
        return _put(self)


S3Response.put_object = _put_one  # type: ignore[method-assign]


class Storage:
    """A running server; the drivers of this process, and of those it starts, are led to it."""

    def __init__(self, server: ThreadedMotoServer) -> None:
        """Take the server."""
        self._server = server

    def new_bucket(self) -> str:
        """Return the URL of a folder in an empty bucket."""
        name = f"bucket-{uuid.uuid4().hex}"
        boto3.client("s3").create_bucket(Bucket=name)
        return f"s3://{name}/models"

    def stop(self) -> None:
        """Stop it: storage is down."""
        self._server.stop()


@contextmanager
def running() -> Iterator[Storage]:
    """Run a server on a free port."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    before = dict(os.environ)
    os.environ.update(CREDENTIALS, AWS_ENDPOINT_URL=f"http://{host}:{port}")
    try:
        yield Storage(server)
    finally:
        os.environ.clear()
        os.environ.update(before)
        server.stop()
