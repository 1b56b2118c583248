"""Migrations of older databases; the only module that loads Alembic.

To write the next one, change `schema.py`, set its `HEAD`, and let Alembic compare the tables with
a database of the previous schema:

    from alembic import command
    from sqlalchemy import create_engine
    from nas.store.upgrade import configuration
    with create_engine("sqlite:///copy-of-a-store.db").begin() as connection:
        config = configuration(connection)
        command.revision(config, "what changes", autogenerate=True, rev_id="0002")
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from nas.errors import StoreError

MIGRATIONS = Path(__file__).with_name("migrations")


def configuration(connection: Connection) -> Config:
    """What an `alembic.ini` would say, for one connection."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection, name: str) -> None:
    """Run what is missing to the newest schema, within the transaction of the connection.

    Args:
        connection: Holds the writers' lock; the caller commits.
        name: The database, for messages.

    Raises:
        StoreError: If a newer version of the program wrote the database, or if rows refer to
            missing ones afterwards.
    """
    config = configuration(connection)
    script = ScriptDirectory.from_config(config)
    stored = MigrationContext.configure(connection).get_current_revision()
    if stored is not None and stored not in {entry.revision for entry in script.walk_revisions()}:
        msg = (
            f"{name} has schema {stored}, this program knows {script.get_current_head()} and "
            "older: a newer version wrote it; update this one (pip install --upgrade "
            "hardware-aware-nas) or use another file"
        )
        raise StoreError(msg)
    command.upgrade(config, "head")
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
        if broken is not None:
            msg = f"{name} cannot be upgraded: rows of {broken[0]} lack what they refer to"
            raise StoreError(msg)
