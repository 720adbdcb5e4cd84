"""The link between site and server: its messages, its client, its errors, and digests."""

from .client import LinkClient
from .digest import Hasher, blob_ref
from .errors import (
    LinkConfigError,
    LinkError,
    LinkProtocolError,
    LinkRefused,
    LinkUnavailable,
)
from .http import HttpCaller, checked_url
from .loopback import is_loopback
from .messages import NAME_RULE, BlobRef, Name, is_name

__all__ = [
    "NAME_RULE",
    "BlobRef",
    "Hasher",
    "HttpCaller",
    "LinkClient",
    "LinkConfigError",
    "LinkError",
    "LinkProtocolError",
    "LinkRefused",
    "LinkUnavailable",
    "Name",
    "blob_ref",
    "checked_url",
    "is_loopback",
    "is_name",
]
