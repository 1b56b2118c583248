"""Measuring elsewhere, others' latency tables, and computed outcomes of slots."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Slots as 0001 made them: SQLite builds the table anew, and reads no constraint back by itself.
SLOTS = sa.Table(
    "slots",
    sa.MetaData(),
    sa.Column("run_id", sa.Text(), nullable=False),
    sa.Column("batch_number", sa.Integer(), autoincrement=False, nullable=False),
    sa.Column("slot", sa.Integer(), autoincrement=False, nullable=False),
    sa.Column("subject", sa.Text(), nullable=False),
    sa.Column("measurement_id", sa.Integer(), nullable=True),
    sa.Column("failure", sa.Text(), nullable=True),
    sa.PrimaryKeyConstraint("run_id", "batch_number", "slot", name="pk_slots"),
    sa.ForeignKeyConstraint(
        ["run_id", "batch_number"],
        ["batches.run_id", "batches.number"],
        name="fk_slots_run_id_batches",
    ),
    sa.ForeignKeyConstraint(
        ["measurement_id"], ["measurements.id"], name="fk_slots_measurement_id_measurements"
    ),
    sa.CheckConstraint("measurement_id IS NULL OR failure IS NULL", name="ck_slots_one_outcome"),
)


def upgrade() -> None:
    with op.batch_alter_table("slots", copy_from=SLOTS) as slots:
        slots.add_column(sa.Column("estimate", sa.Text(), nullable=True))
        slots.drop_constraint(op.f("ck_slots_one_outcome"), type_="check")
        slots.create_check_constraint(
            op.f("ck_slots_one_outcome"),
            "(measurement_id IS NULL OR failure IS NULL)"
            " AND (measurement_id IS NULL OR estimate IS NULL)"
            " AND (failure IS NULL OR estimate IS NULL)",
        )
    op.create_table(
        "latency_tables",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("space", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("networks", sa.Integer(), nullable=False),
        sa.Column("artefact", sa.Text(), nullable=False),
        sa.Column("provenance", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_latency_tables"),
        sa.ForeignKeyConstraint(
            ["artefact"], ["artefacts.sha256"], name="fk_latency_tables_artefact_artefacts"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_latency_tables_space_target_id", "latency_tables", ["space", "target", "id"]
    )
    op.create_table(
        "agents",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("runtimes", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("last_seen_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_agents"),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("alone", sa.Boolean(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("cancelled", sa.Boolean(), nullable=False),
        sa.Column("lease_agent", sa.Text(), nullable=True),
        sa.Column("lease_token", sa.Text(), nullable=True),
        sa.Column("lease_expires_at", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.ForeignKeyConstraint(["lease_agent"], ["agents.id"], name="fk_jobs_lease_agent_agents"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_jobs_device_id", "jobs", ["device", "id"])
    op.create_table(
        "job_items",
        sa.Column("job_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("graph", sa.Text(), nullable=False),
        sa.Column("measurement_id", sa.Integer(), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("job_id", "position", name="pk_job_items"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_job_items_job_id_jobs"),
        sa.ForeignKeyConstraint(
            ["graph"], ["artefacts.sha256"], name="fk_job_items_graph_artefacts"
        ),
        sa.ForeignKeyConstraint(
            ["measurement_id"],
            ["measurements.id"],
            name="fk_job_items_measurement_id_measurements",
        ),
        sa.CheckConstraint(
            "measurement_id IS NULL OR failure IS NULL", name=op.f("ck_job_items_one_outcome")
        ),
    )
    op.create_index("ix_job_items_measurement_id", "job_items", ["measurement_id"])
