"""The wire's format holds still, and takes from newer peers what it does not know."""

from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from federant.link import Name, is_name
from federant.link.messages import (
    BlobRef,
    Event,
    EventsRequest,
    HelloReply,
    HelloRequest,
    JobSpec,
    JobState,
    MissingBlob,
    MissingReply,
    MissingRequest,
    NextJobsReply,
    NextJobsRequest,
    NextTaskReply,
    NextTaskRequest,
    RenewReply,
    RenewRequest,
    ResultReply,
    ResultRequest,
    RevokedSerials,
    SiteJob,
    SiteState,
    SiteStateRequest,
    TaskMessage,
)

BLOB = BlobRef(digest="ab" * 32, size=5)
BLOB_JSON = '{"digest":"' + "ab" * 32 + '","size":5}'

GOLDEN: list[tuple[BaseModel, str]] = [
    (
        HelloRequest(version=1, features=("long-poll",), site="site-1", instance="r1"),
        '{"version":1,"features":["long-poll"],"site":"site-1","instance":"r1"}',
    ),
    (
        HelloReply(version=1, features=(), server_id="s"),
        '{"version":1,"features":[],"server_id":"s"}',
    ),
    (
        NextJobsRequest.model_validate({"known": {"j": "running"}, "wait_seconds": 5}),
        '{"known":{"j":"running"},"wait_seconds":5.0,"revocations":null}',
    ),
    (
        NextJobsReply(
            jobs=(SiteJob(job_id="j", name="n", trainer="t", params={"a": 1}, state="ended"),)
        ),
        '{"jobs":[{"job_id":"j","name":"n","trainer":"t","params":{"a":1},"state":"ended"}],'
        '"revoked":null}',
    ),
    (
        NextJobsReply(revoked=RevokedSerials(version="v", serials=("1f", "2"))),
        '{"jobs":[],"revoked":{"version":"v","serials":["1f","2"]}}',
    ),
    (SiteStateRequest(state=SiteState.REFUSED, text="x"), '{"state":"refused","text":"x"}'),
    (
        NextTaskRequest(holder="h", holding=("t",), lease_seconds=9, wait_seconds=1),
        '{"holder":"h","holding":["t"],"lease_seconds":9.0,"wait_seconds":1.0}',
    ),
    (
        NextTaskReply(
            task=TaskMessage(
                task_id="t",
                attempt=1,
                name="train",
                headers={"r": 1},
                blob=BLOB,
                deadline_seconds=2.5,
            ),
            job_state="running",
        ),
        '{"task":{"task_id":"t","attempt":1,"name":"train","headers":{"r":1},"blob":'
        + BLOB_JSON
        + ',"deadline_seconds":2.5},"job_state":"running"}',
    ),
    (
        RenewRequest(holder="h", lease_seconds=9, wait_seconds=1),
        '{"holder":"h","lease_seconds":9.0,"wait_seconds":1.0}',
    ),
    (RenewReply(state="cancelled", reason="x"), '{"state":"cancelled","reason":"x"}'),
    (
        ResultRequest(attempt=1, rc="OK", headers={}, blob=BLOB),
        '{"attempt":1,"rc":"OK","headers":{},"blob":' + BLOB_JSON + "}",
    ),
    (
        ResultReply(outcome="accepted", rc="OK"),
        '{"outcome":"accepted","rc":"OK","error":""}',
    ),
    (MissingRequest(blobs=(BLOB,)), '{"blobs":[' + BLOB_JSON + "]}"),
    (
        MissingReply(missing=(MissingBlob(digest=BLOB.digest, offset=3),)),
        '{"missing":[{"digest":"' + BLOB.digest + '","offset":3}]}',
    ),
    (
        EventsRequest(events=(Event(id="1", kind="METRIC", tag="loss", value=0.5, step=2),)),
        '{"events":[{"id":"1","kind":"METRIC","tag":"loss","value":0.5,"step":2,"text":"",'
        '"time":null,"task":"","blob":null}]}',
    ),
    (
        EventsRequest(events=(Event(id="1", kind="IMAGE", tag="x", blob=BLOB),)),
        '{"events":[{"id":"1","kind":"IMAGE","tag":"x","value":null,"step":null,"text":"",'
        '"time":null,"task":"","blob":' + BLOB_JSON + "}]}",
    ),
]


@pytest.mark.parametrize(("message", "text"), GOLDEN, ids=lambda value: type(value).__name__)
def test_each_message_keeps_its_form(message: BaseModel, text: str) -> None:
    assert message.model_dump_json() == text
    assert type(message).model_validate_json(text) == message


def test_an_event_of_a_peer_that_knows_no_blobs_is_read() -> None:
    old = '{"id":"1","kind":"TEXT","tag":"","value":null,"step":null,"text":"","task":""}'
    assert Event.model_validate_json(old).blob is None


def test_a_site_and_a_server_that_know_of_no_revocations_are_read() -> None:
    assert NextJobsRequest.model_validate_json('{"known":{},"wait_seconds":5}').revocations is None
    assert NextJobsReply.model_validate_json('{"jobs":[]}').revoked is None


def test_fields_of_a_newer_peer_are_ignored() -> None:
    reply = RenewReply.model_validate_json('{"state":"held","reason":"","new":[1]}')
    assert reply.state == "held"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_json_lacks_arrives_all_the_same(value: float) -> None:
    event = Event(id="1", kind="METRIC", value=value)
    assert repr(Event.model_validate_json(event.model_dump_json()).value) == repr(value)


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (BlobRef, {"digest": "AB" * 32, "size": 1}),
        (BlobRef, {"digest": "ab" * 32, "size": -1}),
        (HelloRequest, {"version": 1, "site": "a.b"}),
        (NextJobsRequest, {"wait_seconds": float("inf")}),
        (NextJobsRequest, {"wait_seconds": 1e9}),
        (NextTaskRequest, {"holder": ""}),
        (NextTaskRequest, {"holder": "h", "lease_seconds": 0}),
        (NextTaskRequest, {"holder": "h", "holding": ["t"] * 1001}),
        (NextJobsRequest, {"known": {f"j{n}": "running" for n in range(10_001)}}),
        (MissingRequest, {"blobs": [{"digest": "ab" * 32, "size": 1}] * 1001}),
        (EventsRequest, {"events": [{"id": "1", "kind": "TEXT"}] * 1001}),
        (Event, {"id": "1", "kind": "TEXT", "text": "x" * 20_001}),
        (Event, {"id": "1", "kind": "TEXT", "time": "NaN"}),
        (Event, {"id": "1", "kind": "IMAGE", "blob": {"digest": "ab" * 32, "size": 21 << 20}}),
        (JobSpec, {"name": "n", "trainer": "t", "sinks": ["syslog"]}),
        (Event, {"id": "1", "kind": "TEXT", "step": 1 << 63}),
        (SiteStateRequest, {"state": "failed", "text": "x" * 20_001}),
        (ResultRequest, {"attempt": 1 << 31, "rc": "OK"}),
        (ResultRequest, {"attempt": 1, "rc": "OK", "headers": {"x": ["y" * 20_000] * 14}}),
        (JobSpec, {"name": "n", "trainer": "t", "mistyped": 1}),
        (JobSpec, {"name": "n", "trainer": "t", "sites": ["a/b"]}),
    ],
)
def test_what_makes_no_sense_is_refused(model: type[BaseModel], fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        model.model_validate(fields)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("site-1", True),
        ("7", True),
        ("A_b-C", True),
        ("n" * 64, True),
        ("n" * 65, False),
        ("", False),
        ("-x", False),
        ("_x", False),
        ("a.b", False),
        ("a/b", False),
        ("a\n", False),
        ("ä", False),
        ("٣", False),
    ],
)
def test_a_name_is_a_name_in_every_message_and_to_whoever_asks(text: str, good: bool) -> None:
    try:
        TypeAdapter(Name).validate_python(text)
    except ValidationError:
        assert not good
    else:
        assert good
    assert is_name(text) is good


def test_headers_of_a_result_that_are_too_large_are_told_where_to_go() -> None:
    with pytest.raises(ValidationError, match="what is large belongs into the body"):
        ResultRequest(attempt=1, rc="OK", headers={"x": "y" * 300_000})
    assert ResultRequest(attempt=1, rc="OK", headers={"x": "y" * 200_000, "loss": float("nan")})


def test_the_final_states_of_a_job_and_of_a_sites_part_are_known() -> None:
    assert {state for state in JobState if state.ended} == {"finished", "failed", "stopped"}
    assert {state for state in SiteState if state.gone} == {"refused", "failed", "ended"}
