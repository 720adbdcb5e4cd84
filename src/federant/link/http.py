"""HTTP to one server: addresses that may be used, messages there and back, bytes both ways.

Knows no particular call.  The errors of urllib3 become the link's own here and nowhere else.
"""

from __future__ import annotations

import functools
import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import RemoteDisconnected
from typing import Any, Final, TypeVar, cast
from urllib.parse import urlsplit

import urllib3
from pydantic import BaseModel, ValidationError
from urllib3.exceptions import HTTPError, NameResolutionError, NewConnectionError, ProtocolError

from .connections import PlainPool, ServerPool
from .digest import Buffer
from .errors import LinkConfigError, LinkProtocolError, LinkRefused, LinkUnavailable
from .kit import Kit
from .loopback import is_loopback
from .messages import VERSION, VERSION_HEADER, ErrorBody
from .proxy import Proxy, proxy_for
from .renewal import CurrentContext
from .tls import client_context, require_plain, tls_error

_log = logging.getLogger(__name__)

_Reply = TypeVar("_Reply", bound=BaseModel)

CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 30.0
CHUNK_BYTES: Final = 1 << 20
MAX_ANSWER_BYTES: Final = 256 << 20
"""Of a message; blobs go to the disk as they come.  The longest are ten thousand events."""

_PORTS: Final = {"http": 80, "https": 443}

_JSON: Final = {"content-type": "application/json", "accept": "application/json"}


def checked_url(url: str) -> str:
    """The server's address without a trailing slash; LinkConfigError if it must not be used."""
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise LinkConfigError(
            f"{url!r} is no address of a server; give one like https://federation.example:8750"
        )
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise LinkConfigError(
            f"{url!r} is on another machine, and plain HTTP would show everything on the way; "
            "use https:// and a startup kit, or, without TLS, a loopback address such as "
            "http://127.0.0.1:8750"
        )
    try:
        port = parts.port
    except ValueError as error:
        raise LinkConfigError(f"{url!r} has no valid port: {error}") from error
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username:
        raise LinkConfigError(f"{url!r} has more than a host and a port; leave the rest away")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port or _PORTS[parts.scheme]}"


def is_secure(url: str) -> bool:
    """Whether the address, once checked, is spoken to by TLS."""
    return url.startswith("https:")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whatever it says."""

    status: int
    headers: Mapping[str, str]
    """By names in any case."""
    body: bytes


class Incoming:
    """Bytes that come, to be read while the call lasts."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response

    def fill(self, buffer: memoryview) -> int:
        """Put the next bytes into the buffer; fewer than it holds are the last, or were cut."""
        return self._response.readinto(buffer)

    def all(self) -> bytes:
        """All of them; for what fits into memory twice."""
        return b"".join(self._response.stream(CHUNK_BYTES))


class HttpCaller:
    """Calls to one server over kept connections.  Thread-safe.

    Every call says which version of the link it is of, and is tried once; ``LinkUnavailable`` says
    that trying again may help.  It is given up when for ``read_seconds`` nothing came and nothing
    went, not counting ``wait_seconds`` for which it waits at the server; a long transfer takes as
    long as it takes.  With a kit, a proxy that the environment names is gone through.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        kit: Kit | None = None,
        connect_seconds: float = CONNECT_SECONDS,
        read_seconds: float = READ_SECONDS,
        connections: int = 16,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self.url = checked_url(url)
        self._headers = {VERSION_HEADER: str(VERSION), **(headers or {})}
        self._connect_seconds = connect_seconds
        self._read_seconds = read_seconds
        self._max_answer_bytes = max_answer_bytes
        self._proxy = None if kit is None else proxy_for(self.url)
        self._pool = _pool(self.url, kit, self._proxy, connections, read_seconds)

    def close(self) -> None:
        self._pool.close()

    def call(
        self,
        method: str,
        path: str,
        reply: type[_Reply],
        body: BaseModel | None = None,
        *,
        wait_seconds: float = 0.0,
    ) -> _Reply:
        """Send a message and read the answer."""
        data = None if body is None else body.model_dump_json().encode()
        with self._request(method, path, data, _JSON, wait_seconds=wait_seconds) as response:
            return _parse(reply, self._all_of(response), self._where(method, path))

    def look(self, path: str) -> Answer:
        """GET without a judgement: an answer that refuses is one too."""
        with self._request("GET", path, None, _JSON, judge=False) as response:
            return Answer(response.status, response.headers, self._all_of(response))

    def send(self, path: str, chunks: Iterable[Buffer], size: int, reply: type[_Reply]) -> _Reply:
        """PUT ``size`` bytes, as the chunks yield them, and read the answer."""
        headers = {"content-type": "application/octet-stream", "content-length": str(size)}
        with self._request("PUT", path, chunks, headers) as response:
            return _parse(reply, self._all_of(response), self._where("PUT", path))

    @contextmanager
    def receive(self, path: str, start: int = 0) -> Iterator[Incoming]:
        """GET bytes from place ``start`` to the end."""
        headers = {"range": f"bytes={start}-"} if start else {}
        with self._request("GET", path, None, headers) as response:
            if start and response.status != 206:
                raise LinkProtocolError(
                    f"{self._where('GET', path)} answered {response.status} to a request for a part"
                )
            yield Incoming(response)

    @contextmanager
    def _request(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[Buffer] | None,
        headers: Mapping[str, str],
        *,
        wait_seconds: float = 0.0,
        judge: bool = True,
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        timeout = urllib3.Timeout(
            connect=self._connect_seconds, read=self._read_seconds + wait_seconds
        )
        began = time.monotonic()
        try:
            response = self._pool.urlopen(
                method,
                path,
                # What it sends may be any buffer; its annotation knows of bytes only.
                cast("bytes | Iterable[bytes] | None", body),
                {**self._headers, **headers},
                timeout=timeout,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            _log.debug(
                "called call=%s status=%d seconds=%.3f",
                self._where(method, path), response.status, time.monotonic() - began,
            )  # fmt: skip
            try:
                if judge and response.status >= 300:
                    raise self._refusal(response, self._where(method, path))
                yield response
            finally:
                # What was not read is not worth reading: the connection goes, not the time.
                response.close() if response.length_remaining else response.release_conn()
        except NameResolutionError as error:
            raise LinkUnavailable(
                f"the name {self._pool.host} of the server at {self.url} is not known here; is it "
                "right, and does this machine need a proxy (https_proxy) that knows it?"
            ) from error
        except NewConnectionError as error:
            raise LinkUnavailable(
                f'no server answers at {self.url}; is "federant server" running there?'
            ) from error
        except (HTTPError, OSError) as error:
            refused = self._proxy and self._proxy.refusal(error, self.url)
            untrusted = refused or tls_error(error, self._where(method, path))
            if untrusted is not None:
                raise untrusted from error
            if _hung_up(error) and not is_secure(self.url):
                require_plain(self._pool.host, self._pool.port or 80, self._connect_seconds)
            way = f" through the proxy {self._proxy.url}" if self._proxy else ""
            raise LinkUnavailable(
                f"{self._where(method, path)} gave no answer{way}: {error}; try again"
            ) from error

    def _all_of(self, response: urllib3.BaseHTTPResponse) -> bytes:
        found = bytearray()
        for chunk in response.stream(CHUNK_BYTES):
            found += chunk
            if len(found) > self._max_answer_bytes:
                raise LinkProtocolError(
                    f"{self.url} answers with more than {self._max_answer_bytes} bytes, which no "
                    "server of a federation does; is the address right?"
                )
        return bytes(found)

    def _refusal(
        self, response: urllib3.BaseHTTPResponse, where: str
    ) -> LinkRefused | LinkUnavailable:
        text = self._all_of(response)
        try:
            body = ErrorBody.model_validate_json(text)
        except ValidationError:
            body = ErrorBody(code=f"http_{response.status}", message=repr(text[:200]))
        if response.status >= 500:
            return LinkUnavailable(
                f"{where} failed with {response.status} {body.code}: {body.message}"
            )
        return LinkRefused(body.code, body.message, status=response.status)

    def _where(self, method: str, path: str) -> str:
        return f"{method} {self.url}{path}"


def require_match(url: str, kit: Kit | None) -> None:
    """LinkConfigError for an address with TLS and no kit, or a kit and no TLS."""
    if kit is None and is_secure(url):
        raise LinkConfigError(
            f"{url!r} is spoken to by TLS, for which this side needs its startup kit; name the "
            "kit's folder (--kit, FEDERANT_KIT)"
        )
    if kit is not None and not is_secure(url):
        raise LinkConfigError(
            f"{url!r} would be spoken to without TLS, though there is a kit ({kit.folder}); "
            "use an address that begins with https://, or leave the kit away"
        )


def _pool(
    url: str, kit: Kit | None, proxy: Proxy | None, connections: int, stalled_seconds: float
) -> urllib3.HTTPConnectionPool:
    require_match(url, kit)
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    # Not blocking: a call never waits until a long poll gives its connection back.
    options: dict[str, Any] = {"maxsize": connections, "block": False, "retries": False}
    if kit is None:
        return PlainPool(host, port, stalled_seconds=stalled_seconds, **options)
    pool = functools.partial(
        ServerPool,
        contexts=CurrentContext(kit, client_context),
        federation=kit.identity.federation,
        url=url,
        stalled_seconds=stalled_seconds,
    )
    if proxy is None:
        return pool(host, port, **options)
    manager = urllib3.ProxyManager(proxy.url, proxy_headers=proxy.headers(), **options)
    manager.pool_classes_by_scheme = {"https": pool}  # type: ignore[dict-item]  # a callable will do
    return manager.connection_from_host(host, port, "https")


def _hung_up(error: Exception) -> bool:
    """Whether the other side closed the connection instead of answering."""
    return isinstance(error, ProtocolError) and isinstance(error.args[-1], RemoteDisconnected)


def _parse(reply: type[_Reply], text: bytes, where: str) -> _Reply:
    try:
        return reply.model_validate_json(text)
    except ValidationError as error:
        problems = json.dumps(error.errors(include_url=False, include_input=False), default=str)
        raise LinkProtocolError(
            f"the answer of {where} is not what this version of the link says: {problems}"
        ) from error
