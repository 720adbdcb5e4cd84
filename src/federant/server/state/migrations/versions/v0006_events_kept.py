"""How many events of a site are kept in each of its jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column(
        "job_sites",
        sa.Column("events_kept", sa.BigInteger(), nullable=False, server_default="0"),
    )
    op.execute(
        "UPDATE job_sites SET events_kept = (SELECT count(*) FROM events "
        "WHERE events.job_id = job_sites.job_id AND events.site = job_sites.site)"
    )
