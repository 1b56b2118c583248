"""The first schema: devices, measurements, runs and their batches, artefacts, predictors."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "devices",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_devices"),
    )
    op.create_table(
        "environments",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_environments"),
    )
    op.create_table(
        "measurements",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("space", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("occasion", sa.Text(), nullable=False),
        sa.Column("samples", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("taken_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_measurements"),
        sa.ForeignKeyConstraint(
            ["environment"],
            ["environments.digest"],
            name="fk_measurements_environment_environments",
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_measurements_target_kind_space_id", "measurements", ["target", "kind", "space", "id"]
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("baseline_id", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("finished_at", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
    )
    op.create_index("ix_runs_created_at", "runs", ["created_at"])
    op.create_table(
        "batches",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "number", name="pk_batches"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_batches_run_id_runs"),
    )
    op.create_table(
        "slots",
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
        sa.CheckConstraint(
            "measurement_id IS NULL OR failure IS NULL", name=op.f("ck_slots_one_outcome")
        ),
    )
    op.create_table(
        "artefacts",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("sha256", name="pk_artefacts"),
    )
    op.create_table(
        "predictors",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("space", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("artefact", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("provenance", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_predictors"),
        sa.ForeignKeyConstraint(
            ["artefact"], ["artefacts.sha256"], name="fk_predictors_artefact_artefacts"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_predictors_target_space_id", "predictors", ["target", "space", "id"])
    op.create_table(
        "run_artefacts",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "name", name="pk_run_artefacts"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_run_artefacts_run_id_runs"),
        sa.ForeignKeyConstraint(
            ["sha256"], ["artefacts.sha256"], name="fk_run_artefacts_sha256_artefacts"
        ),
    )
