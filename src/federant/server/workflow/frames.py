"""Bodies as blobs: the server's way of writing a frame down and looking at one; no state."""

from __future__ import annotations

import mmap
from weakref import WeakValueDictionary

from federant.codec import decode, encode
from federant.link import blob_ref
from federant.link.messages import BlobRef
from federant.server.blobs import BlobStore

_mapped: WeakValueDictionary[str, mmap.mmap] = WeakValueDictionary()
"""By digest, the newest mapping of each blob that is looked at."""


def put_body(blobs: BlobStore, body: object) -> BlobRef:
    """Keep a body as one frame; TypeError naming the path to what cannot travel.

    One that is kept already is not written again: the model that a round ends with is the one
    that the next begins with, and its digest costs far less than a second copy on the disk.
    """
    frame = encode(body)
    blob = blob_ref(frame.chunks())
    if blobs.size(blob.digest) == blob.size:
        mapped = _mapped.get(blob.digest)
        if mapped is not None:
            # The digest has read all of it, which would count as memory until it is let go of.
            mapped.madvise(mmap.MADV_DONTNEED)
        return blob
    return blobs.put(frame.chunks())


def get_body(blobs: BlobStore, blob: BlobRef) -> object:
    """The body in a blob; its arrays are read-only views of the file, which never changes.

    Tensors of torch and jax are TorchArray and JaxArray, whatever the process has imported.

    Nothing is read before it is looked at, and what was read takes no memory of the process.
    """
    with blobs.path(blob.digest).open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    _mapped[blob.digest] = mapped
    return decode(memoryview(mapped), frameworks=False).body
