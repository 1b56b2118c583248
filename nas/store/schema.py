"""The tables. A change here needs a migration and the next `HEAD`: a test compares the two.

JSON is compact text, not a JSON type: digests are of its exact bytes, and every database keeps
text as it is.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

HEAD = "0002"
"""Revision of the newest migration; a database that has it opens without loading Alembic."""

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

devices = Table(
    "devices",
    metadata,
    Column("name", Text, primary_key=True),
    Column("facts", Text, nullable=False),
    Column("created_at", Text),
)

# Keyed by the SHA-256 of the canonical JSON: a pool of measurements shares a few environments.
environments = Table(
    "environments",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("body", Text, nullable=False),
)

measurements = Table(
    "measurements",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("subject", Text, nullable=False),
    Column("space", Text),
    Column("kind", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("reference", Text, nullable=False),
    Column("occasion", Text, nullable=False),
    Column("samples", Text, nullable=False),
    Column("environment", Text, ForeignKey(environments.c.digest), nullable=False),
    Column("taken_at", Text, nullable=False),
    Index(None, "target", "kind", "space", "id"),
    sqlite_autoincrement=True,
)

runs = Table(
    "runs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("request", Text, nullable=False),
    Column("baseline_id", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("result", Text),
    Column("created_at", Text, nullable=False),
    Column("finished_at", Text),
    Index(None, "created_at"),
)

batches = Table(
    "batches",
    metadata,
    Column("run_id", Text, ForeignKey(runs.c.id), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("stage", Text, nullable=False),
)

slots = Table(
    "slots",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("batch_number", Integer, primary_key=True, autoincrement=False),
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("subject", Text, nullable=False),
    Column("measurement_id", Integer, ForeignKey(measurements.c.id)),
    Column("failure", Text),
    Column("estimate", Text),
    ForeignKeyConstraint(["run_id", "batch_number"], ["batches.run_id", "batches.number"]),
    CheckConstraint(
        "(measurement_id IS NULL OR failure IS NULL)"
        " AND (measurement_id IS NULL OR estimate IS NULL)"
        " AND (failure IS NULL OR estimate IS NULL)",
        name="one_outcome",
    ),
)

artefacts = Table(
    "artefacts",
    metadata,
    Column("sha256", Text, primary_key=True),
    Column("media_type", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", Text),
)

predictors = Table(
    "predictors",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("target", Text, nullable=False),
    Column("space", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("artefact", Text, ForeignKey(artefacts.c.sha256), nullable=False),
    Column("reference", Text),
    Column("provenance", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Index(None, "target", "space", "id"),
    sqlite_autoincrement=True,
)

run_artefacts = Table(
    "run_artefacts",
    metadata,
    Column("run_id", Text, ForeignKey(runs.c.id), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("sha256", Text, ForeignKey(artefacts.c.sha256), nullable=False),
)

# A table of latencies lies in an artefact; the newest of a space and target is the one that counts.
latency_tables = Table(
    "latency_tables",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("space", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("networks", Integer, nullable=False),
    Column("artefact", Text, ForeignKey(artefacts.c.sha256), nullable=False),
    Column("provenance", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Index(None, "space", "target", "id"),
    sqlite_autoincrement=True,
)

agents = Table(
    "agents",
    metadata,
    Column("id", Text, primary_key=True),
    Column("device", Text, nullable=False),
    Column("facts", Text, nullable=False),
    Column("runtimes", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("last_seen_at", Text, nullable=False),
)

# Times of a lease are uniform ISO texts and compared as such. A lease that ran out stays until the
# next claim replaces it.
jobs = Table(
    "jobs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("device", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("plan", Text, nullable=False),
    Column("alone", Boolean, nullable=False),
    Column("owner", Text, nullable=False),
    Column("cancelled", Boolean, nullable=False),
    Column("lease_agent", Text, ForeignKey(agents.c.id)),
    Column("lease_token", Text),
    Column("lease_expires_at", Text),
    Column("created_at", Text, nullable=False),
    Index(None, "device", "id"),
    sqlite_autoincrement=True,
)

job_items = Table(
    "job_items",
    metadata,
    Column("job_id", Integer, ForeignKey(jobs.c.id), primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("subject", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("graph", Text, ForeignKey(artefacts.c.sha256), nullable=False),
    Column("measurement_id", Integer, ForeignKey(measurements.c.id)),
    Column("failure", Text),
    # Finds the few open items among all that were ever measured.
    Index(None, "measurement_id"),
    CheckConstraint("measurement_id IS NULL OR failure IS NULL", name="one_outcome"),
)

# Alembic's own table, as it would create it; apart, so that it is in no migration.
revision = Table(
    "alembic_version",
    MetaData(naming_convention={"pk": "%(table_name)s_pkc"}),
    Column("version_num", String(32), primary_key=True),
)
