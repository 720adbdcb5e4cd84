"""Blobs: immutable bytes by digest, and how much of the disk they may take; knows no calls."""

from .errors import (
    BlobDigestError,
    BlobError,
    BlobNotFoundError,
    BlobOffsetError,
    BlobQuotaError,
    BlobSpaceError,
    BlobSupersededError,
)
from .folder import FolderBlobs
from .space import MOST_PARTS, DiskSpace, SiteSpace
from .store import BlobStore, Upload

__all__ = [
    "MOST_PARTS",
    "BlobDigestError",
    "BlobError",
    "BlobNotFoundError",
    "BlobOffsetError",
    "BlobQuotaError",
    "BlobSpaceError",
    "BlobStore",
    "BlobSupersededError",
    "DiskSpace",
    "FolderBlobs",
    "SiteSpace",
    "Upload",
]
