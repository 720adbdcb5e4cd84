"""What can go wrong while certificates and kits are made."""

from __future__ import annotations


class ProvisionError(ValueError):
    """It cannot be done as asked; the text says why, where, and what to do."""
