"""What the OpenAPI description says of the calls that FastAPI cannot know by itself."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import FastAPI, Header

from federant.link.messages import SITE_HEADER, VERSION_HEADER, ErrorBody

MANDATORY_HEADERS: Final = (VERSION_HEADER, SITE_HEADER)
"""To FastAPI they are optional: a call that lacks one is refused with a code of our own."""

Range = Annotated[
    str,
    Header(
        alias="range",
        description="bytes=START- or bytes=START-END for a part; anything else gives the whole",
    ),
]

_BYTES: Final = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


def _header(text: str) -> dict[str, Any]:
    return {"description": text, "schema": {"type": "string"}}


_ANY_PART: Final = {
    "accept-ranges": _header("bytes"),
    "etag": _header("the digest of the whole, in quotes"),
}
_CONTENT_RANGE: Final = {"content-range": _header("bytes START-END/SIZE")}

TAKES_BYTES: Final[dict[str, Any]] = {"requestBody": {"required": True, "content": _BYTES}}
"""The ``openapi_extra`` of a call whose body is bytes as they are."""

GIVES_BYTES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The whole", "content": _BYTES, "headers": _ANY_PART},
    206: {
        "description": "The part that Range asks for",
        "content": _BYTES,
        "headers": _ANY_PART | _CONTENT_RANGE,
    },
    416: {
        "description": "There is no such part",
        "model": ErrorBody,
        "headers": {"content-range": _header("bytes */SIZE")},
    },
}
"""The ``responses`` of a call that answers with bytes as they are."""


class DescribedApp(FastAPI):
    """An application whose description says which headers no call may lack."""

    def openapi(self) -> dict[str, Any]:
        described = super().openapi()
        for calls in described["paths"].values():
            for call in calls.values():
                for parameter in call.get("parameters", ()):
                    if parameter["name"] in MANDATORY_HEADERS:
                        parameter["required"] = True
                        parameter["schema"].pop("default", None)
        return described
