"""Every way in which a blob cannot be stored or had, as one tree."""

from __future__ import annotations


class BlobError(Exception):
    """Base of what goes wrong with a blob.

    BlobError
    ├── BlobNotFoundError      no such blob
    ├── BlobOffsetError        a transfer is to go on where there are no bytes yet, or past its end
    ├── BlobDigestError        the bytes are not those that the digest names
    ├── BlobSupersededError    a newer transfer of the same blob by the same owner took over
    ├── BlobSpaceError         the disk is full, or as full as others may make it
    └── BlobQuotaError         the owner has as much there as one may have
    """


class BlobNotFoundError(BlobError, LookupError): ...


class BlobOffsetError(BlobError, ValueError): ...


class BlobDigestError(BlobError, ValueError): ...


class BlobSupersededError(BlobError): ...


class BlobSpaceError(BlobError): ...


class BlobQuotaError(BlobError): ...
