"""What the parts of the SQL store stand on: one open database, and rows that must be there."""

from __future__ import annotations

from sqlalchemy import Connection, Table, exists, insert, select

from nas.errors import StoreError
from nas.store import schema
from nas.store.database import Database
from nas.store.rows import digest_of
from search_spaces.errors import UnknownNameError


class Part:
    """The methods of one subject; `SqlStore` joins all parts on one database."""

    _database: Database


def has(connection: Connection, table: Table, **key: object) -> bool:
    """Whether the table has a row of that key."""
    row = exists().where(*(table.c[name] == value for name, value in key.items()))
    return bool(connection.execute(select(row)).scalar_one())


def keep_artefact(
    connection: Connection, body: bytes, media_type: str, created_at: str | None
) -> str:
    """Insert bytes unless they are there, and return their SHA-256."""
    sha256 = digest_of(body)
    if not has(connection, schema.artefacts, sha256=sha256):
        row = {"sha256": sha256, "media_type": media_type, "body": body}
        connection.execute(insert(schema.artefacts), row | {"created_at": created_at})
    return sha256


def require_artefact(connection: Connection, sha256: str) -> None:
    """Refuse a digest without bytes.

    Raises:
        UnknownNameError: If there are none.
    """
    if not has(connection, schema.artefacts, sha256=sha256):
        raise unknown_artefact(sha256)


def unknown_artefact(sha256: str) -> UnknownNameError:
    """What is said of a digest without bytes."""
    return UnknownNameError(f"no artefact has the digest {sha256!r}; store its bytes first")


def checked_body(body: bytes, sha256: str, database: str) -> bytes:
    """The bytes of an artefact, unless they were altered.

    Raises:
        StoreError: If their digest is another one.
    """
    if digest_of(body) != sha256:
        msg = f"artefact {sha256} is damaged in {database}; restore a copy"
        raise StoreError(msg)
    return body
