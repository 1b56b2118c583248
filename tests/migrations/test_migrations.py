"""Old databases open with today's program, and migrations and tables tell the same.

For every released schema one small database is kept here. When `HEAD` has changed, write the next
one with `python tests/migrations/test_migrations.py` before it is released, never again after.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement

from devices.device import Device
from devices.measurement import Measurement, Samples
from nas.errors import StoreError
from nas.jobs import Agent, Job, JobItem
from nas.store import SqlStore, schema, upgrade
from nas.trial import Batch, Estimate, Failure, StoredMeasurement
from predictors.predictor import LatencyTable

FOLDER = Path(__file__).parent
KEPT = sorted(FOLDER.glob("schema_*.sqlite"))

# A next revision that builds a table anew to which others refer, as SQLite often needs.
NEXT = f"""
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = "next", "{schema.HEAD}", None, None
def upgrade():
    with op.batch_alter_table("measurements", recreate="always") as table:
        table.add_column(sa.Column("new", sa.Text(), nullable=True))
"""


def measured(subject: str, **changes: Any) -> Measurement:
    fields: dict[str, Any] = {
        "subject": subject,
        "kind": "network",
        "digest": "d1",
        "target": "box:ort-fp32-t1",
        "samples": Samples((1.0, 1.25), (1.5, 1.75), (0.5, 0.5), (0.5, 0.625)),
        "reference": "r1",
        "occasion": "o1",
        "environment": {"load": 0.5},
        "taken_at": "2026-01-02T03:04:05Z",
    }
    return Measurement(**(fields | changes))


FIRST = measured("toy:012")
BLOCK = measured("block:ab", kind="block", environment={"load": 1.5})

# What 0002 brought.
ESTIMATE = Estimate("accuracy", 71.5, 0.25, {"images": 1000})
AGENT = Agent("agent-1", "pi", {"cores": 4}, ("ort",), "0.2", "2026-01-02T03:04:05.000000+00:00")
REMOTE = measured("toy:012", target="pi:ort-fp32-t1", occasion="o2")
ITEMS = [JobItem(subject, "network", "d1", "graph") for subject in ("toy:012", "toy:111", "toy:2")]


def latency_table() -> LatencyTable:
    """Two networks on a device of somebody else."""
    return LatencyTable(
        "toy", np.array([[0, 1, 2], [1, 1, 1]], dtype=np.int8), "imported:phone",
        np.array([1.5, 2.25]), np.array([0.0, 0.125]), "imported", {"file": "phone.csv"},
    )  # fmt: skip


def fill(path: Path) -> None:
    """Write what each kept database holds: some of everything."""
    now, later = "2026-01-02T03:04:05Z", "2026-01-02T04:00:00Z"
    with SqlStore(path) as store:
        store.add_device(Device("box", {"cores": 2}), now)
        store.add_measurements([BLOCK])
        store.open_run("run-1", '{"budget": "5ms"}', now)
        store.add_batch("run-1", 0, "calibrate", ["toy:012", "toy:111"])
        store.add_batch("run-1", 1, "search", ["toy:210"])
        store.add_outcome("run-1", 0, 0, FIRST)
        store.add_outcome("run-1", 0, 1, Failure("out of memory"))
        sha256 = store.add_artefact(b"weights", "application/octet-stream", now)
        store.name_artefact("run-1", "winner.onnx", sha256)
        store.add_predictor("box:ort-fp32-t1", "toy", "ridge", sha256, {"rows": 2}, now)
        store.finish_run("run-1", "verified", '{"best": "toy:012"}', later)
        # From 0002 on.
        store.open_run("run-2", "{}", later)
        store.add_batch("run-2", 0, "evaluate", ["toy:012", "toy:111"])
        store.add_outcome("run-2", 0, 0, ESTIMATE)
        store.add_latency_table(latency_table(), now)
        store.add_agent(AGENT)
        graph = store.add_artefact(b"{}", "application/json", now)
        items = [replace(item, graph=graph) for item in ITEMS]
        job_id = store.add_job("pi:ort-fp32-t1", {"warmup": 2}, True, "run run-2", items, now)
        store.claim_job(AGENT.id, now, "2026-01-02T03:05:05Z", "secret")
        store.add_job_outcome(job_id, "secret", 0, REMOTE, now)
        store.add_job_outcome(job_id, "secret", 1, Failure("too large"), now)


def check(path: Path) -> None:
    """Read everything that `fill` wrote."""
    with SqlStore(path) as store:
        run = store.run("run-1")
        assert store.devices() == [Device("box", {"cores": 2})]
        assert (run.baseline_id, run.state, run.result) == (1, "verified", '{"best": "toy:012"}')
        assert store.batches("run-1") == [
            Batch(
                0,
                "calibrate",
                ("toy:012", "toy:111"),
                (StoredMeasurement(2, FIRST), Failure("out of memory")),
            ),
            Batch(1, "search", ("toy:210",), (None,)),
        ]
        assert store.measurements("box:ort-fp32-t1") == [
            StoredMeasurement(1, BLOCK),
            StoredMeasurement(2, FIRST),
        ]
        sha256 = store.run_artefacts("run-1")["winner.onnx"]
        assert store.artefact(sha256) == b"weights"
        assert store.latest_predictor("box:ort-fp32-t1", "toy") == sha256


def check_0002(path: Path) -> None:
    """Read what `fill` wrote into tables and columns that 0002 brought."""
    with SqlStore(path) as store:
        assert store.batches("run-2") == [
            Batch(0, "evaluate", ("toy:012", "toy:111"), (ESTIMATE, None))
        ]
        [table] = store.latency_tables("toy", "imported:phone")
        assert table.genes.tolist() == latency_table().genes.tolist()
        assert table.latency_ms.tolist() == [1.5, 2.25]
        assert table.relative_se.tolist() == [0.0, 0.125]
        assert (table.kind, table.provenance) == ("imported", {"file": "phone.csv"})
        assert store.agents() == [AGENT]
        [job] = store.jobs("pi", "2026-01-02T03:05:00Z")
        outcomes: list[StoredMeasurement | Failure | None] = [
            StoredMeasurement(3, REMOTE), Failure("too large"), None
        ]  # fmt: skip
        assert store.artefact(job.items[0].graph) == b"{}"
        assert job == Job(
            1, "pi:ort-fp32-t1", {"warmup": 2}, True, "run run-2",
            tuple(
                replace(item, graph=job.items[0].graph, outcome=outcome)
                for item, outcome in zip(ITEMS, outcomes, strict=True)
            ),
            "leased", "2026-01-02T03:04:05.000000+00:00",
        )  # fmt: skip
        assert store.job(1, "2026-01-02T03:05:05Z").state == "open"


def check_its_own(path: Path, schema_of_file: str) -> None:
    """Read what a program of that schema could write."""
    check(path)
    if schema_of_file >= "0002":
        check_0002(path)


def keep(path: Path) -> None:
    """Write the kept database of the present schema, as small as SQLite makes it."""
    fill(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("journal_mode = DELETE", "page_size = 512"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("VACUUM")


@pytest.fixture
def migrated() -> Iterator[Connection]:
    """An empty database brought to the newest schema by all migrations."""
    with create_engine("sqlite://").begin() as connection:
        upgrade.upgrade(connection, "test")
        yield connection


def test_the_newest_migration_is_the_head_of_the_tables() -> None:
    with create_engine("sqlite://").connect() as connection:
        script = ScriptDirectory.from_config(upgrade.configuration(connection))

    assert script.get_heads() == [schema.HEAD]


def test_tables_and_migrations_agree(migrated: Connection) -> None:
    context = MigrationContext.configure(migrated, opts={"compare_server_default": True})

    assert compare_metadata(context, schema.metadata) == []


def test_a_new_store_is_what_all_migrations_make(migrated: Connection, tmp_path: Path) -> None:
    SqlStore(tmp_path / "store.db").close()

    def parts(connection: Connection) -> dict[str, Any]:
        look = inspect(connection)
        return {
            table: (
                [{**column, "type": str(column["type"])} for column in look.get_columns(table)],
                look.get_pk_constraint(table),
                sorted(look.get_foreign_keys(table), key=str),
                look.get_check_constraints(table),
                sorted(look.get_indexes(table), key=str),
            )
            for table in look.get_table_names()
        }

    with create_engine(f"sqlite:///{tmp_path / 'store.db'}").connect() as created:
        assert parts(created) == parts(migrated)
        revision = MigrationContext.configure(created).get_current_revision()
    assert revision == MigrationContext.configure(migrated).get_current_revision() == schema.HEAD


def test_the_database_of_the_present_schema_is_kept() -> None:
    assert f"schema_{schema.HEAD}.sqlite" in [path.name for path in KEPT]


@pytest.mark.parametrize("kept", KEPT, ids=lambda path: path.stem)
def test_kept_databases_open_with_all_they_hold(kept: Path, tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    shutil.copy(kept, path)

    check_its_own(path, kept.stem.removeprefix("schema_"))

    with create_engine(f"sqlite:///{path}").connect() as connection:
        context = MigrationContext.configure(connection)
        assert context.get_current_revision() == schema.HEAD
        assert compare_metadata(context, schema.metadata) == []


def test_slots_of_an_upgraded_store_take_one_outcome_of_any_kind(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    shutil.copy(FOLDER / "schema_0001.sqlite", path)

    with SqlStore(path) as store:
        store.add_outcome("run-1", 1, 0, ESTIMATE)

        assert store.batches("run-1")[1].outcomes == (ESTIMATE,)
        with pytest.raises(StoreError, match="has an outcome already"):
            store.add_outcome("run-1", 1, 0, Failure("too late"))
    with closing(sqlite3.connect(path)) as connection:
        for second in ("failure = 'x'", "measurement_id = 1"):
            with pytest.raises(sqlite3.IntegrityError, match="ck_slots_one_outcome"):
                connection.execute(f"UPDATE slots SET {second} WHERE estimate IS NOT NULL")


def next_migrations(folder: Path, migration: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the program believe in one more migration."""
    shutil.copytree(upgrade.MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / "next.py").write_text(migration, encoding="utf-8")
    monkeypatch.setattr(upgrade, "MIGRATIONS", folder)
    monkeypatch.setattr(schema, "HEAD", "next")


def test_an_older_store_is_upgraded_with_all_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.db"
    fill(path)
    next_migrations(tmp_path / "100% next", NEXT, monkeypatch)

    check_its_own(path, "next")

    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [
            ("next",)
        ]
        assert connection.execute("SELECT new FROM measurements").fetchall() == [(None,)] * 3
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("op.execute('INSERT INTO nowhere VALUES (1)')", "no such table: nowhere"),
        ("op.execute('DELETE FROM batches')", "rows of slots lack what they refer to"),
    ],
)
def test_a_failed_upgrade_leaves_the_store_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: str
) -> None:
    path = tmp_path / "store.db"
    fill(path)
    with monkeypatch.context() as patched:
        next_migrations(tmp_path / "next", f"{NEXT}    {step}\n", patched)
        with pytest.raises(StoreError, match=error):
            SqlStore(path)

    check_its_own(path, schema.HEAD)


def test_the_tables_can_be_written_for_postgresql() -> None:
    tables = schema.metadata.sorted_tables
    creations: list[ExecutableDDLElement] = [CreateTable(table) for table in tables]
    creations += [CreateIndex(index) for table in tables for index in table.indexes]

    for creation in creations:
        written = str(creation.compile(dialect=postgresql.dialect()))
        assert written.strip().startswith("CREATE")


if __name__ == "__main__":
    keep(FOLDER / f"schema_{schema.HEAD}.sqlite")
