"""Blobs over HTTP: which are missing, put from an offset, get from an offset."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from federant.link.messages import (
    API_PREFIX,
    LINK_PREFIX,
    BlobRef,
    Digest,
    Done,
    ErrorCode,
    MissingBlob,
    MissingReply,
    MissingRequest,
)
from federant.server.blobs import SiteSpace, Upload
from federant.server.door.bodies import BLOCK_BYTES, Body, take_body
from federant.server.door.refusals import RefusedError, answer

from .callers import MEANT, OPERATOR_ONLY, Site, known_version
from .description import GIVES_BYTES, TAKES_BYTES, Range
from .services import Services

OPERATOR: Final = "_operator"
"""Who owns what the operator puts; no site can be called that."""

_SENT_BYTES: Final = 256 << 10
"""Of a file at a time: while it is on its way the next is made ready, and both are small enough
for the processor's cache."""
_RANGE: Final = re.compile(r"bytes=([0-9]{1,18})-([0-9]{0,18})")

Offset = Annotated[int, Query(ge=0, lt=1 << 63)]
Size = Annotated[int, Query(ge=0, lt=1 << 63)]


def blob_router(services: Services, space: SiteSpace) -> APIRouter:
    """The site's routes for blobs."""
    router = APIRouter(prefix=LINK_PREFIX, tags=["link"], dependencies=[Depends(known_version)])
    store = services.store

    @router.post("/blobs/missing")
    def missing(body: MissingRequest, site: Site) -> MissingReply:
        """Which blobs the site would have to send, and how much of each is there from it."""
        return MissingReply(
            missing=tuple(
                MissingBlob(digest=blob.digest, offset=services.blobs.offset(blob, site))
                for blob in body.blobs
                if not _has(services, site, blob)
            )
        )

    @router.put("/blobs/{digest}", openapi_extra=TAKES_BYTES)
    async def put(
        digest: Digest, size: Size, request: Request, site: Site, offset: Offset = 0
    ) -> Done:
        """Take a blob's bytes from ``offset`` on."""
        blob = BlobRef(digest=digest, size=size)
        return await _take(services, request, blob, site, offset, space)

    @router.get("/blobs/{digest}", response_class=StreamingResponse, responses=GIVES_BYTES)
    def get(digest: Digest, site: Site, part: Range = "") -> Response:
        """A blob that the site was given in a task; ``Range`` asks for a part."""
        if not store.was_given(site, digest):
            raise RefusedError(
                ErrorCode.NOT_FOUND, f"site {site} was given no task with blob {digest}"
            )
        return send_file(services.blobs.path(digest), part)

    return router


def operator_blob_router(services: Services) -> APIRouter:
    """The operator's route for blobs: to put a job's initial model."""
    router = APIRouter(prefix=API_PREFIX, tags=["operator"], dependencies=[OPERATOR_ONLY])

    @router.put("/blobs/{digest}", openapi_extra=TAKES_BYTES, dependencies=[MEANT])
    async def put(digest: Digest, size: Size, request: Request, offset: Offset = 0) -> Done:
        """Take a blob's bytes from ``offset`` on."""
        return await _take(services, request, BlobRef(digest=digest, size=size), OPERATOR, offset)

    return router


def send_file(path: Path, part: str) -> Response:
    """The file, or the part of it that a Range header asks for."""
    size = path.stat().st_size
    start, stop, status = 0, size, 200
    wanted = _RANGE.fullmatch(part)
    headers = {"accept-ranges": "bytes", "etag": f'"{path.name}"'}
    if wanted:
        start = int(wanted[1])
        stop = min(size, int(wanted[2]) + 1) if wanted[2] else size
        if start >= stop:
            message = f"{path.name} has {size} bytes: there is no part {part!r} of it"
            headers = {"content-range": f"bytes */{size}"}
            return answer(ErrorCode.BAD_REQUEST, message, 416, headers)
        status = 206
        headers["content-range"] = f"bytes {start}-{stop - 1}/{size}"
    headers |= {"content-length": str(stop - start), "content-type": "application/octet-stream"}
    if stop - start <= BLOCK_BYTES:
        # Read here and now: a stream costs changes of thread.
        return Response(_read(path, start, stop), status, headers)
    return StreamingResponse(_blocks(path, start, stop), status, headers)


def _has(services: Services, owner: str, blob: BlobRef) -> bool:
    """Whether the blob is there and the owner may know it.

    What only others have sent is missing: else a site could claim a result it never had.
    """
    there = services.blobs.size(blob.digest) == blob.size
    return there and services.store.has_blob(owner, blob.digest)


async def _take(
    services: Services,
    request: Request,
    blob: BlobRef,
    owner: str,
    offset: int,
    space: SiteSpace | None = None,
) -> Done:
    """Few changes of thread for a small blob, one a block for a large one."""
    upload = await run_in_threadpool(_begin, services, owner, blob, offset, space)
    if upload is None:
        async for _ in request.stream():
            pass
        return Done()
    intake = _Intake(upload)
    try:
        await _receive(request, intake, services.stalled_seconds)
        await run_in_threadpool(_finish, services, owner, blob, upload, intake)
        if space is not None:
            space.put(owner, blob)
    except (ClientDisconnect, TimeoutError) as error:
        # What came before the cut is worth keeping.
        await run_in_threadpool(intake.write)
        silent = isinstance(error, TimeoutError)
        what = f"no byte came for {services.stalled_seconds:g} s" if silent else "it was cut"
        raise RefusedError(
            ErrorCode.BLOB_OFFSET,
            f"the transfer of blob {blob.digest} did not come to its end: {what}; go on with it",
            headers={"connection": "close"},
        ) from None
    finally:
        upload.close()
    return Done()


class _Intake:
    """What came of an upload and is not in its file yet; of a small blob, all of it."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._chunks: list[bytes] = []
        self._size = 0

    async def add(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._size += len(chunk)
        if self._size >= BLOCK_BYTES:
            await run_in_threadpool(self.write)

    async def add_all(self, body: Body, stalled_seconds: float) -> None:
        """What is left of a large one: each block is written while the next one comes."""
        await run_in_threadpool(self.write)
        try:
            async for block in body.blocks(stalled_seconds):
                # Not by anyio, which lets the loop turn first: it would read all of the next block
                # before this one's write began.
                await asyncio.to_thread(self._upload.write, block)
        finally:
            body.close()

    def write(self) -> None:
        """Put into the file what is not there yet."""
        for chunk in self._chunks:
            self._upload.write(chunk)
        self._chunks, self._size = [], 0


async def _receive(request: Request, intake: _Intake, stalled_seconds: float) -> None:
    """Take all that comes; TimeoutError if for that long nothing does."""
    loop = asyncio.get_running_loop()
    body: Body | None = None
    async with asyncio.timeout(stalled_seconds) as limit:
        async for chunk in request.stream():
            # The disk's time is not the sender's.
            limit.reschedule(None)
            body = take_body(request)
            await intake.add(chunk)
            if body is not None:
                break
            limit.reschedule(loop.time() + stalled_seconds)
    if body is not None:
        await intake.add_all(body, stalled_seconds)


def _begin(
    services: Services, owner: str, blob: BlobRef, offset: int, space: SiteSpace | None
) -> Upload | None:
    if _has(services, owner, blob):
        return None
    most_bytes = None if space is None else space.left(owner)
    return services.blobs.begin(blob, owner, offset, most_bytes)


def _finish(services: Services, owner: str, blob: BlobRef, upload: Upload, intake: _Intake) -> None:
    intake.write()
    upload.finish()
    services.store.put_blob(owner, blob)


def _read(path: Path, start: int, stop: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        part = file.read(stop - start)
    if len(part) < stop - start:
        raise EOFError(f"{path} ended at byte {start + len(part)}, before {stop}")
    return part


async def _blocks(path: Path, start: int, stop: int) -> AsyncIterator[memoryview]:
    """A part of the file; what is in memory already is taken without a change of thread."""
    with await run_in_threadpool(path.open, "rb", buffering=0) as file:
        at = start
        while at < stop:
            block = _at_hand(file.fileno(), min(_SENT_BYTES, stop - at), at)
            if not block:
                size = min(BLOCK_BYTES, stop - at)
                block = memoryview(await run_in_threadpool(os.pread, file.fileno(), size, at))
            if not block:
                raise EOFError(f"{path} ended at byte {at}, before {stop}")
            at += len(block)
            for begin in range(0, len(block), _SENT_BYTES):
                yield block[begin : begin + _SENT_BYTES]


def _at_hand(descriptor: int, size: int, at: int) -> memoryview:
    """What can be read of the file without waiting for the disk: as much, less, or nothing."""
    block = bytearray(size)
    # Other systems than Linux have no such flag, and not every file system knows it.
    with suppress(OSError, AttributeError):
        return memoryview(block)[: os.preadv(descriptor, [block], at, os.RWF_NOWAIT)]
    return memoryview(b"")
