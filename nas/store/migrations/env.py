"""Run by Alembic: migrates the connection that `nas.store.upgrade` hands over."""

from alembic import context

from nas.store import schema

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=schema.metadata,
    # SQLite alters a table by building it anew.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
