"""What can be wrong with a frame.

ValueError
└── FrameError      bytes that are no valid frame, or that go beyond the limits

A value that cannot travel is a TypeError at the sender.
"""

from __future__ import annotations


class FrameError(ValueError):
    """These bytes are no valid frame; nothing in them has been used."""
