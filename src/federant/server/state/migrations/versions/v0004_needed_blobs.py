"""Which blobs events refer to, found without a look at every event."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_index(op.f("ix_events_blob_digest"), "events", ["blob_digest"])
