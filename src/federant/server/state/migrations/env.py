"""How Alembic runs the migrations: on the connection and in the transaction that it is handed."""

from alembic import context

from federant.server.state.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
context.run_migrations()
