"""The way into a database: opening it, waiting for one's turn, and saying plainly what failed."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, insert, inspect, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import QueuePool

from nas.errors import StoreError
from nas.store import schema

_BUSY_S = 30
_WAL_ATTEMPTS, _WAL_PAUSE_S = 600, 0.05
# Any number will do, as long as all writers of this program use the same.
_POSTGRESQL_LOCK = 0x4E4153

_REASONS = {
    "SQLITE_NOTADB": "it is not a database; give the path of a store, or of a new file",
    "SQLITE_CORRUPT": "it is damaged; restore a copy, or start a new file",
    "SQLITE_FULL": "the disk is full; free some space and start again, what was stored is kept",
    "SQLITE_READONLY": "it is read-only; allow writing to the file and its folder, or use another",
    "SQLITE_CANTOPEN": "the file cannot be opened or created; check the folder and its rights",
    "SQLITE_PERM": "this user may not use the file; change its rights, or use another",
    "SQLITE_BUSY": f"another process kept it locked for {_BUSY_S} s; try again when it has ended",
    "SQLITE_IOERR": "the disk reports an error; check it and its free space",
}


class Database:
    """An open database with the schema of this program.

    On SQLite, readers never wait (WAL) and writers queue at the start of their transaction
    (BEGIN IMMEDIATE), not at its first write, where waiting could end in a deadlock. On
    PostgreSQL an advisory lock does the same, so that everywhere a later number means a later
    commit.

    Attributes:
        name: Path or URL for messages, without a password.
    """

    def __init__(self, location: str | Path) -> None:
        url = _url(location)
        self.name = (
            str(url.database)
            if url.drivername.startswith("sqlite") and url.database
            else url.render_as_string(hide_password=True)
        )
        with self._explained("open"):
            self._engine = _engine(url)
            self._reader = self._engine.execution_options(begin="read")
            self._writer = self._engine.execution_options(begin="write")
            try:
                self._prepare()
            except BaseException:
                self._engine.dispose()
                raise

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view of the database."""
        with self._explained("read"), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """The only writer until the block ends; an exception undoes all of it."""
        with self._explained("write to"), self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, PoolTimeoutError, ArgumentError, ImportError, sqlite3.Error) as error:
            msg = f"cannot {doing} {self.name}: {_reason(error)}"
            raise StoreError(msg) from error

    def _prepare(self) -> None:
        """Bring the database to `HEAD`; of several processes one does it, the others wait."""
        with self._engine.connect() as connection:
            stored = self._revision(connection)
            if connection.dialect.name == "sqlite":
                _switch_to_wal(connection)
            if stored == schema.HEAD:
                return
            with _foreign_keys_off(connection):
                _take_turn(connection)
                stored = self._revision(connection)
                if stored is None:
                    # At once; tests hold it equal to running all migrations.
                    schema.metadata.create_all(connection, checkfirst=False)
                    schema.revision.create(connection)
                    connection.execute(insert(schema.revision).values(version_num=schema.HEAD))
                elif stored != schema.HEAD:
                    # 0.2 s of CPU time that only an old database is worth.
                    from nas.store.upgrade import upgrade

                    upgrade(connection, self.name)
                connection.commit()

    def _revision(self, connection: Connection) -> str | None:
        """Revision that the database has; None if it is empty."""
        tables = inspect(connection).get_table_names()
        if not tables:
            return None
        if not {schema.revision.name, schema.measurements.name} <= set(tables):
            msg = f"{self.name} is a database of another program; give the path of a new file"
            raise StoreError(msg)
        return connection.execute(select(schema.revision.c.version_num)).scalar()


def _url(location: str | Path) -> URL:
    """The URL of a location, its folder created if it is a file."""
    try:
        if isinstance(location, str) and "://" in location:
            url = make_url(location)
        else:
            url = URL.create("sqlite", database=str(Path(location).expanduser().absolute()))
        in_file = url.drivername.startswith("sqlite") and url.database not in (None, "", ":memory:")
        if in_file and not str(url.database).startswith("file:"):
            path = Path(str(url.database))
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                msg = f"{path} is a folder; give the path of a file in it, such as {path}/nas.db"
                raise StoreError(msg)
    except (OSError, RuntimeError) as error:
        msg = f"cannot open {location}: {getattr(error, 'strerror', None) or error}"
        raise StoreError(f"{msg}; give another path") from error
    except ArgumentError as error:
        msg = "the store is neither a path nor a database URL such as sqlite:///runs/nas.db"
        raise StoreError(msg) from error
    return url


def _engine(url: URL) -> Engine:
    options: dict[str, Any] = {"poolclass": QueuePool}
    if url.get_backend_name() == "sqlite":
        options["connect_args"] = {"timeout": _BUSY_S, "check_same_thread": False}
        if url.database in (None, "", ":memory:"):
            # Such a database is its connection: threads take turns with the only one.
            options |= {"pool_size": 1, "max_overflow": 0}
    engine = create_engine(url, **options)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin)
    return engine


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # Left to itself the driver starts transactions at the first write, too late to queue.
    connection.isolation_level = None
    # With WAL this survives a killed process; a power cut may lose the last transactions.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin(connection: Connection) -> None:
    wanted = connection.get_execution_options().get("begin")
    if wanted == "write":
        _take_turn(connection)
    elif wanted == "read" and connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN")


def _take_turn(connection: Connection) -> None:
    """Wait until no other process writes; held to the end of the transaction."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_POSTGRESQL_LOCK})")


def _switch_to_wal(connection: Connection) -> None:
    # SQLite does not apply the busy timeout here, and others may be opening the file as well.
    for attempt in range(1, _WAL_ATTEMPTS + 1):
        try:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            return
        except OperationalError as error:
            if not _error_name(error).startswith("SQLITE_BUSY") or attempt == _WAL_ATTEMPTS:
                raise
        time.sleep(_WAL_PAUSE_S)


@contextmanager
def _foreign_keys_off(connection: Connection) -> Iterator[None]:
    """Let migrations rebuild tables on SQLite, which knows no other way to alter them."""
    if connection.dialect.name != "sqlite":
        yield
        return
    connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
    try:
        yield
    finally:
        # Within a transaction the pragma does nothing.
        connection.rollback()
        connection.exec_driver_sql("PRAGMA foreign_keys = ON")


def _error_name(error: BaseException) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return str(getattr(cause, "sqlite_errorname", None) or "")


def _reason(error: BaseException) -> str:
    if isinstance(error, ImportError):
        return f"{error}; install the driver of that database, such as pip install psycopg"
    name = _error_name(error)
    known = [reason for prefix, reason in _REASONS.items() if name.startswith(prefix)]
    cause = (error.orig if isinstance(error, DBAPIError) else None) or error
    return known[0] if known else next(iter(str(cause).splitlines()), type(cause).__name__)
