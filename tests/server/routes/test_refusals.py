"""What the server refuses, and that each refusal carries a code and a sentence."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import urllib3

from federant.codec import encode
from federant.exchange import DXO, DataKind, MetaKey, ReturnCode
from federant.link import LinkClient, LinkConfigError, LinkUnavailable, blob_ref
from federant.link.messages import SITE_HEADER, VERSION_HEADER, CommitOutcome, ErrorCode
from federant.server.routes.services import Services
from federant.server.serving import listen
from federant.server.state import JobRow, NewTask, Store, TaskRow
from federant.server.validation import MODEL_KINDS, ResultChecker, expectation

SITE = {SITE_HEADER: "site-1", VERSION_HEADER: "1"}
Ask = Callable[..., tuple[int, Any]]


@pytest.fixture
def ask(server_url: str) -> Iterator[Ask]:
    """``ask(method, path, json, headers)`` gives the status and the answer's JSON."""
    with urllib3.PoolManager(retries=False) as http:

        def send(
            method: str, path: str, body: Any = None, headers: dict[str, str] = SITE
        ) -> tuple[int, Any]:
            reply = http.request(method, server_url + path, json=body, headers=headers)
            return reply.status, json.loads(reply.data)

        yield send


def _hello(version: int = 1, site: str = "site-1") -> dict[str, Any]:
    return {"version": version, "site": site}


def test_a_version_that_the_server_does_not_speak_is_refused_by_name(ask: Ask) -> None:
    headers = {**SITE, VERSION_HEADER: "2"}
    status, body = ask("POST", "/link/v1/hello", _hello(2), headers)
    assert (status, body["code"]) == (400, ErrorCode.UNKNOWN_VERSION)
    assert body["message"].startswith(
        "site site-1 speaks federant.link version 2, this server speaks version 1"
    )


def test_the_version_in_the_hello_counts_too(ask: Ask) -> None:
    status, body = ask("POST", "/link/v1/hello", _hello(7))
    assert (status, body["code"]) == (400, ErrorCode.UNKNOWN_VERSION)


@pytest.mark.parametrize("path", ["/link/v1/hello", "/link/v1/jobs/next", "/link/v1/blobs/missing"])
def test_a_call_without_a_version_is_refused(ask: Ask, path: str) -> None:
    status, body = ask("POST", path, {}, {SITE_HEADER: "site-1"})
    assert (status, body["code"]) == (400, ErrorCode.UNKNOWN_VERSION)
    assert "speaks federant.link version (none)" in body["message"]


@pytest.mark.parametrize("name", ["", "site.1", "-x", "a" * 65, "_operator", "server"])
def test_a_caller_without_a_proper_name_is_refused(ask: Ask, name: str) -> None:
    headers = {**SITE, SITE_HEADER: name}
    status, body = ask("POST", "/link/v1/jobs/next", {}, headers)
    assert (status, body["code"]) == (401, ErrorCode.NO_SITE)


def test_a_site_does_not_say_hello_for_another(ask: Ask) -> None:
    status, body = ask("POST", "/link/v1/hello", _hello(site="site-2"))
    assert (status, body["code"]) == (403, ErrorCode.FORBIDDEN)


def test_a_request_of_the_wrong_form_is_told_what_is_wrong(ask: Ask) -> None:
    status, body = ask("POST", "/link/v1/jobs/next", {"wait_seconds": -1})
    assert (status, body["code"]) == (400, ErrorCode.BAD_REQUEST)
    assert "body.wait_seconds: Input should be greater than or equal to 0" in body["message"]


def test_a_mistyped_field_of_a_job_is_not_ignored(ask: Ask) -> None:
    status, body = ask("POST", "/api/v1/jobs", {"name": "n", "trainer": "t", "workflw": "x"})
    assert (status, body["code"]) == (400, ErrorCode.BAD_REQUEST)
    assert "workflw" in body["message"]


@pytest.mark.parametrize("job_id", ["a.b", "..%2fup", "j" * 65, "j%0a"])
def test_a_job_under_an_id_that_is_no_name_is_refused(ask: Ask, job_id: str) -> None:
    status, body = ask("POST", f"/api/v1/jobs?id={job_id}", {"name": "n", "trainer": "t"})
    assert (status, body["code"]) == (400, ErrorCode.BAD_REQUEST)
    assert "query.id: String should match pattern" in body["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nowhere"),
        ("GET", "/api/v1/jobs/none"),
        ("GET", "/api/v1/jobs/none/models"),
        ("GET", "/api/v1/jobs/none/events"),
        ("POST", "/api/v1/jobs/none/stop"),
        ("DELETE", "/api/v1/jobs/none"),
        ("DELETE", "/api/v1/jobs"),
    ],
)
def test_what_is_not_there_is_said_not_to_be_there(ask: Ask, method: str, path: str) -> None:
    status, body = ask(method, path)
    assert status in (404, 405)
    assert body["code"] == ErrorCode.NOT_FOUND
    assert body["message"]


def test_a_page_that_calls_the_server_by_another_name_is_refused(ask: Ask) -> None:
    status, body = ask("GET", "/api/v1/jobs", None, {"host": "evil.example:80"})
    assert (status, body["code"]) == (403, ErrorCode.FORBIDDEN)
    assert "'evil.example'" in body["message"]


@pytest.mark.parametrize("kind", ["application/json", "text/plain", None])
def test_a_page_of_another_site_submits_stops_and_deletes_no_job(
    server_url: str, store: Store, submit: Callable[..., JobRow], kind: str | None
) -> None:
    job = submit(store, "site-1")
    headers = {"origin": "https://evil.example"} | ({"content-type": kind} if kind else {})
    blob = blob_ref([b"x"])
    spec = b'{"name": "n", "trainer": "t"}'
    with urllib3.PoolManager(retries=False) as http:
        for method, path, body in (
            ("POST", f"jobs/{job.id}/stop", None),
            ("DELETE", f"jobs/{job.id}", None),
            ("POST", "jobs", spec),
            ("PUT", f"blobs/{blob.digest}?size=1", b"x"),
        ):
            url = f"{server_url}/api/v1/{path}"
            reply = http.request(method, url, body=body, headers=headers)
            assert (reply.status, reply.json()["code"]) == (403, ErrorCode.FORBIDDEN)
            assert f"lacks the header '{VERSION_HEADER}: 1'" in reply.json()["message"]
            # A browser asks before it sends such a header, and must not be encouraged.
            asked = {"access-control-request-method": method} | headers
            assert http.request("OPTIONS", url, headers=asked).status >= 400
    assert store.jobs() == [job]
    assert not store.has_blob("_operator", blob.digest)


def test_an_operator_of_another_version_is_refused_by_name(ask: Ask) -> None:
    status, body = ask("POST", "/api/v1/jobs/j/stop", None, {VERSION_HEADER: "2"})
    assert (status, body["code"]) == (400, ErrorCode.UNKNOWN_VERSION)
    assert body["message"].startswith("the caller speaks federant.link version 2")


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "example.org", "::"])
def test_a_server_that_others_could_reach_is_not_started_without_tls(host: str) -> None:
    with pytest.raises(LinkConfigError, match="which other machines can reach"):
        listen(host, 0)


def test_a_port_in_use_is_named() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1 port {port}"):
            listen("127.0.0.1", port)
        with listen("127.0.0.1", 0, preferred_port=port) as second:
            assert second.getsockname()[1] != port


def test_an_initial_model_that_was_not_put_is_refused(ask: Ask) -> None:
    blob = {"digest": "a" * 64, "size": 1}
    spec = {"name": "n", "trainer": "t", "initial_model": blob}
    status, body = ask("POST", "/api/v1/jobs", spec)
    assert (status, body["code"]) == (409, ErrorCode.BLOB_MISSING)


def test_the_description_of_all_calls_is_there(ask: Ask) -> None:
    status, body = ask("GET", "/openapi.json")
    assert status == 200
    assert {
        "/link/v1/hello",
        "/link/v1/jobs/next",
        "/link/v1/jobs/{job_id}/site-state",
        "/link/v1/jobs/{job_id}/tasks/next",
        "/link/v1/tasks/{task_id}/renew",
        "/link/v1/tasks/{task_id}/result",
        "/link/v1/blobs/missing",
        "/link/v1/blobs/{digest}",
        "/link/v1/jobs/{job_id}/events",
        "/api/v1/jobs",
    } <= body["paths"].keys()


def test_a_server_that_lives_is_ready_until_it_stops(ask: Ask, services: Services) -> None:
    assert ask("GET", "/health/live")[0] == 200
    status, body = ask("GET", "/health/ready")
    assert (status, body["status"], body["server_id"]) == (200, "ready", "s-test")
    services.wakeups.close()
    status, body = ask("GET", "/health/ready")
    assert (status, body["code"]) == (503, ErrorCode.NOT_READY)


def test_a_database_that_does_not_answer_is_told_to_the_log_only(
    ask: Ask, store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.close()
    (tmp_path / "state.db").write_bytes(b"no database at all" * 1000)
    status, body = ask("GET", "/health/ready")
    assert (status, body["code"]) == (503, ErrorCode.NOT_READY)
    assert body["message"] == "the database does not answer; the server's log has the rest"
    assert "file is not a database" in caplog.text


class _NotFinite:
    rc = ReturnCode.RESULT_NOT_FINITE
    text = "layer1 has NaN"


def test_a_result_that_is_not_valid_is_refused_with_its_reason(
    services: Services, store: Store, submit: Callable[..., JobRow], serving: Any
) -> None:
    seen: list[tuple[str, bytes | None, str]] = []

    def check(task: TaskRow, body: Path | None, rc: str) -> _NotFinite:
        seen.append((task.id, body.read_bytes() if body else None, rc))
        return _NotFinite()

    job = submit(store, "site-1")
    store.begin_step(job.id, 0, "send", {}, [NewTask("t", "site-1", "train")])
    with serving(replace(services, check_result=check)) as url, LinkClient(url, "site-1") as client:
        blob = blob_ref([b"bad"])
        client.put_blob(blob, lambda _: [b"bad"])
        first = client.commit_result("t", 1, ReturnCode.OK, {}, blob)
        second = client.commit_result("t", 1, ReturnCode.OK, {}, blob)
    assert seen == [("t", b"bad", "OK")]
    assert first.outcome is CommitOutcome.REFUSED
    assert second.outcome is CommitOutcome.DUPLICATE
    for reply in (first, second):
        assert (reply.rc, reply.error) == (ReturnCode.RESULT_NOT_FINITE, "layer1 has NaN")
    assert store.task("t").rc == ReturnCode.RESULT_NOT_FINITE


MODEL = {"w": np.full(2, 3e38, np.float32)}
REFUSALS: dict[str, tuple[bytes | DXO, str]] = {
    ReturnCode.RESULT_UNREADABLE: (b"junk", "the result cannot be read"),
    ReturnCode.RESULT_WRONG_KIND: (
        DXO(DataKind.METRICS, {"loss": 0.5}),
        "task train asks for WEIGHTS or WEIGHT_DIFF, the result is a DXO of kind METRICS",
    ),
    ReturnCode.RESULT_WRONG_NAMES: (DXO(DataKind.WEIGHTS, {"v": MODEL["w"]}), "lacks 'w'"),
    ReturnCode.RESULT_WRONG_SHAPE: (
        DXO(DataKind.WEIGHTS, {"w": np.zeros(3, np.float32)}),
        "'w' has shape (3,), the model's has (2,)",
    ),
    ReturnCode.RESULT_WRONG_DTYPE: (
        DXO(DataKind.WEIGHTS, {"w": np.zeros(2)}),
        "'w' has dtype float64, the model's has float32",
    ),
    ReturnCode.RESULT_NOT_FINITE: (
        DXO(DataKind.WEIGHT_DIFF, MODEL),
        "'w' would hold, with the difference added, 6e+38",
    ),
    ReturnCode.RESULT_BAD_WEIGHT: (
        DXO(DataKind.WEIGHTS, MODEL, {MetaKey.NUM_STEPS_CURRENT_ROUND: -1}),
        "must be a number above 0",
    ),
}


def test_there_is_a_result_for_each_refusal_that_the_server_knows() -> None:
    assert REFUSALS.keys() == {code for code in vars(ReturnCode) if code.startswith("RESULT_")}


@pytest.mark.parametrize("rc", REFUSALS)
def test_a_result_that_does_not_fit_its_task_is_refused_over_the_link(
    services: Services, store: Store, submit: Callable[..., JobRow], serving: Any, rc: str
) -> None:
    result, text = REFUSALS[rc]
    body = result if isinstance(result, bytes) else encode(result.to_shareable()).to_bytes()
    model = services.blobs.put(encode(DXO(DataKind.WEIGHTS, MODEL).to_shareable()).chunks())
    job = submit(store, "site-1")
    task = NewTask("t", "site-1", "train", {}, model, expectation(MODEL_KINDS))
    store.begin_step(job.id, 0, "send", {}, [task])
    checked = replace(services, check_result=ResultChecker(store, services.blobs))
    with serving(checked) as url, LinkClient(url, "site-1") as client:
        blob = blob_ref([body])
        client.put_blob(blob, lambda _: [body])
        reply = client.commit_result("t", 1, ReturnCode.OK, {}, blob)
    assert (reply.outcome, reply.rc) == (CommitOutcome.REFUSED, rc)
    assert text in reply.error
    assert (store.task("t").rc, store.task("t").error) == (rc, reply.error)


def test_a_job_that_the_server_cannot_run_is_refused(services: Services, serving: Any) -> None:
    with (
        serving(replace(services, check_job=lambda spec: f"no workflow {spec.workflow!r}")) as url,
        urllib3.PoolManager() as http,
    ):
        spec = {"name": "n", "trainer": "t"}
        reply = http.request("POST", f"{url}/api/v1/jobs", json=spec, headers={VERSION_HEADER: "1"})
    assert (reply.status, reply.json()["message"]) == (400, "no workflow 'fedavg'")


def test_a_fault_of_the_server_is_worth_another_try_and_shows_nothing_of_its_inside(
    services: Services, store: Store, submit: Callable[..., JobRow], serving: Any
) -> None:
    def broken(_task: TaskRow, _body: Path | None, _rc: str) -> None:
        raise ZeroDivisionError("secret")

    job = submit(store, "site-1")
    store.begin_step(job.id, 0, "send", {}, [NewTask("t", "site-1", "train")])
    with (
        serving(replace(services, check_result=broken)) as url,
        LinkClient(url, "site-1") as client,
        pytest.raises(
            LinkUnavailable, match="failed: ZeroDivisionError; the server's log"
        ) as caught,
    ):
        client.commit_result("t", 1, ReturnCode.OK)
    assert "secret" not in str(caught.value)
    assert store.task("t").state.open


def test_a_blob_larger_than_it_was_said_to_be_is_refused(ask: Ask) -> None:
    blob = blob_ref([b"12"])
    status, body = ask("PUT", f"/link/v1/blobs/{blob.digest}?size=2", {"more": "than two"})
    assert (status, body["code"]) == (400, ErrorCode.BLOB_DIGEST)


def test_a_transfer_does_not_start_behind_what_is_there(ask: Ask) -> None:
    blob = blob_ref([b"12"])
    status, body = ask("PUT", f"/link/v1/blobs/{blob.digest}?offset=1&size=2", 2)
    assert (status, body["code"]) == (409, ErrorCode.BLOB_OFFSET)
    assert "ask which blobs are missing" in body["message"]
