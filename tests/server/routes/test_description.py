"""The OpenAPI description says what every call takes and answers, as the server does it."""

from collections.abc import Iterator
from typing import Any

import pytest

from federant.link.messages import SITE_HEADER, VERSION_HEADER, ErrorCode
from federant.server.routes.app import create_app
from federant.server.routes.services import Services

BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}

LINK = {
    ("post", "/link/v1/hello"): ("HelloRequest", "HelloReply"),
    ("post", "/link/v1/jobs/next"): ("NextJobsRequest", "NextJobsReply"),
    ("post", "/link/v1/jobs/{job_id}/site-state"): ("SiteStateRequest", "Done"),
    ("post", "/link/v1/jobs/{job_id}/tasks/next"): ("NextTaskRequest", "NextTaskReply"),
    ("post", "/link/v1/tasks/{task_id}/renew"): ("RenewRequest", "RenewReply"),
    ("post", "/link/v1/tasks/{task_id}/result"): ("ResultRequest", "ResultReply"),
    ("post", "/link/v1/jobs/{job_id}/events"): ("EventsRequest", "Done"),
    ("post", "/link/v1/blobs/missing"): ("MissingRequest", "MissingReply"),
    ("put", "/link/v1/blobs/{digest}"): (None, "Done"),
    ("get", "/link/v1/blobs/{digest}"): (None, None),
}
FILES = [
    "/link/v1/blobs/{digest}",
    "/api/v1/jobs/{job_id}/models/{which}",
    "/api/v1/jobs/{job_id}/events/{seq}/blob",
]


@pytest.fixture
def description(services: Services) -> dict[str, Any]:
    return create_app(services).openapi()


def of_model(name: str) -> dict[str, Any]:
    """Content that is one of the link's messages."""
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def parameters(call: dict[str, Any], where: str) -> dict[str, bool]:
    """The names of a call's parameters, each with whether it must be there."""
    found = call.get("parameters", [])
    return {each["name"]: each["required"] for each in found if each["in"] == where}


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def test_every_call_of_the_link_is_described(description: dict[str, Any]) -> None:
    there = {
        (method, path)
        for path, calls in description["paths"].items()
        for method in calls
        if path.startswith("/link/")
    }
    assert there == LINK.keys()


@pytest.mark.parametrize(("method", "path"), LINK)
def test_a_call_of_the_link_says_what_it_takes_and_answers(
    description: dict[str, Any], method: str, path: str
) -> None:
    call = description["paths"][path][method]
    request, reply = LINK[method, path]

    headers = parameters(call, "header")
    assert headers.pop(SITE_HEADER)
    assert headers.pop(VERSION_HEADER)
    assert headers == ({"range": False} if method == "get" else {})

    offset = {"size": True, "offset": False} if method == "put" else {}
    assert parameters(call, "query") == offset
    assert parameters(call, "path") == {
        part[1:-1]: True for part in path.split("/") if part.startswith("{")
    }

    if request is not None:
        assert call["requestBody"] == {"required": True, "content": of_model(request)}
    if reply is not None:
        assert call["responses"]["200"]["content"] == of_model(reply)
        assert call["responses"].keys() == {"200", "default"}


def test_every_call_says_how_it_refuses(description: dict[str, Any]) -> None:
    for calls in description["paths"].values():
        for call in calls.values():
            refusal = call["responses"]["default"]
            assert refusal["content"] == of_model("ErrorBody")
            assert all(code in refusal["description"] for code in ErrorCode)
            assert "422" not in call["responses"]


@pytest.mark.parametrize("prefix", ["/link/v1", "/api/v1"])
def test_a_blob_is_put_as_bytes(description: dict[str, Any], prefix: str) -> None:
    call = description["paths"][f"{prefix}/blobs/{{digest}}"]["put"]
    assert call["requestBody"] == {"required": True, "content": BYTES}


@pytest.mark.parametrize("path", FILES)
def test_a_file_is_had_as_bytes_in_whole_or_in_part(description: dict[str, Any], path: str) -> None:
    call = description["paths"][path]["get"]
    assert not parameters(call, "header")["range"]
    responses = call["responses"]
    assert responses.keys() == {"200", "206", "416", "default"}
    assert responses["200"]["content"] == responses["206"]["content"] == BYTES
    assert "content-range" in responses["206"]["headers"]
    assert responses["416"]["content"] == of_model("ErrorBody")


def test_of_the_operators_calls_those_that_change_something_need_the_version_and_no_other_does(
    description: dict[str, Any],
) -> None:
    for path, calls in description["paths"].items():
        if not path.startswith("/link/"):
            for method, call in calls.items():
                headers = parameters(call, "header")
                needed = {name for name, needed in headers.items() if needed}
                assert needed == (set() if method == "get" else {VERSION_HEADER})


def test_a_metric_that_is_no_number_is_described_as_it_travels(description: dict[str, Any]) -> None:
    for name in ("Event", "EventView"):
        value = description["components"]["schemas"][name]["properties"]["value"]
        assert value["anyOf"] == [
            {"type": "number"},
            {"enum": ["NaN", "Infinity", "-Infinity"]},
            {"type": "null"},
        ]


def test_every_message_that_is_named_is_described_and_no_other(
    description: dict[str, Any],
) -> None:
    schemas = {f"#/components/schemas/{name}" for name in description["components"]["schemas"]}
    assert set(references(description)) == schemas
