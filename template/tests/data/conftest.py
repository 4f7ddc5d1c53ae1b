"""A database for each test: SQLite, and PostgreSQL where a variable names a server."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

SERVER = "POSTGRESQL_URL"


@pytest.fixture(params=["sqlite", *(["postgresql"] if SERVER in os.environ else [])])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return an empty database: a file, or one in the server that POSTGRESQL_URL names."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/service.db"
        return
    server, name = sa.make_url(os.environ[SERVER]), f"test_{uuid.uuid4().hex}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
        yield server.set(database=name).render_as_string(hide_password=False)
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()
