"""When a job was deleted; its id stays taken."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("deleted", sa.Double(), nullable=True))
