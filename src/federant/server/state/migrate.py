"""Brings a database to the newest schema, by the migrations that lie beside this file."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine


def migrate(engine: Engine) -> None:
    """Apply what is missing, all of it in one transaction; nothing if the schema is new."""
    with engine.connect() as conn:
        conn = conn.execution_options(federant_begin="BEGIN IMMEDIATE")
        with conn.begin():
            config = Config(attributes={"connection": conn})
            config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
            command.upgrade(config, "head")
