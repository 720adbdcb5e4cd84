"""Bodies as blobs: the server's way of writing a frame down and looking at one; no state."""

from __future__ import annotations

import mmap

from federant.codec import decode, encode
from federant.link import blob_ref
from federant.link.messages import BlobRef
from federant.server.blobs import BlobStore


def put_body(blobs: BlobStore, body: object) -> BlobRef:
    """Keep a body as one frame; TypeError naming the path to what cannot travel.

    One that is kept already is not written again: the model that a round ends with is the one
    that the next begins with, and its digest costs far less than a second copy on the disk.
    """
    frame = encode(body)
    blob = blob_ref(frame.chunks())
    if blobs.size(blob.digest) == blob.size:
        return blob
    return blobs.put(frame.chunks())


def get_body(blobs: BlobStore, blob: BlobRef) -> object:
    """The body in a blob; its arrays are read-only views of the file, which never changes.

    Tensors of torch and jax are TorchArray and JaxArray, whatever the process has imported.

    Nothing is read before it is looked at, and what was read takes no memory of the process.
    """
    with blobs.path(blob.digest).open("rb") as file:
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        return decode(content, frameworks=False).body
