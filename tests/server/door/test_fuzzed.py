"""Every call as its description says it may be made, and as it may not, by each who can dial.

The calls are made up by schemathesis, the same ones each time; the server is a real one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from federant.link.identity import Role
from federant.link.kit import Kit
from federant.link.messages import SITE_HEADER, VERSION, VERSION_HEADER, ErrorCode, JobSpec
from federant.provision import FederationKits
from federant.server.routes.app import create_app
from federant.server.routes.services import Services
from federant.server.state import JobRow, NewTask, task_id

schemathesis = pytest.importorskip("schemathesis")
openapi_checks = pytest.importorskip("schemathesis.specs.openapi.checks")

CHECKS = [
    schemathesis.checks.not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_headers_conformance,
    openapi_checks.response_schema_conformance,
]
TRIES = 12
"""Of each call that is for the role of who makes it; of the others, all denied, there are few."""
OTHERS_TRIES = 2
HANGS_SECONDS = 60.0
PAUSE_SECONDS = 0.01
"""In the place of what a call would wait at the server for news."""


@pytest.fixture
def job(services: Services) -> JobRow:
    """One that runs, with a task and a blob: without it nearly all would be not found."""
    store = services.store
    job = store.create_job(JobSpec(name="digits", trainer="digits", sites=("site-1",)))
    blob = services.blobs.put([b"body"])
    task = NewTask(task_id(job.id, 0, "site-1"), "site-1", "train", {}, blob=blob)
    store.begin_step(job.id, 0, "broadcast", {}, [task])
    store.next_task(job.id, "site-1", "holder", (), 60.0)
    return job


@pytest.fixture
def known(job: JobRow) -> dict[str, str]:
    """What there is, by the names of paths' parameters."""
    return {"job_id": job.id, "task_id": task_id(job.id, 0, "site-1"), "site": "site-1"}


def impatient(part: Any) -> None:
    if isinstance(part, dict) and isinstance(part.get("wait_seconds"), int | float):
        part["wait_seconds"] = min(part["wait_seconds"], PAUSE_SECONDS)


def operations(services: Services) -> Iterator[Any]:
    schema = schemathesis.openapi.from_dict(create_app(services).openapi())
    for found in schema.get_all_operations():
        yield found.ok()


@pytest.mark.parametrize(
    "role", [Role.SITE, Role.OPERATOR, None], ids=["site", "operator", "stranger"]
)
def test_no_call_that_can_be_made_up_fails_hangs_or_is_answered_as_nobody_said(
    url: str,
    kits: FederationKits,
    services: Services,
    known: dict[str, str],
    role: Role | None,
) -> None:
    kit: Kit | None = {Role.SITE: kits.sites["site-1"], Role.OPERATOR: kits.operators["alice"]}.get(
        role  # type: ignore[arg-type]
    )
    certificate = (str(kit.certificate), str(kit.key)) if kit else None
    statuses: set[int] = set()

    def call_each(operation: Any, tries: int) -> None:
        modes = list(schemathesis.GenerationMode)
        cases = st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in modes))

        @settings(
            max_examples=tries,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=cases, data=st.data())
        def calls(case: Any, data: st.DataObject) -> None:
            for name in case.path_parameters or {}:
                if name in known and data.draw(st.booleans()):
                    case.path_parameters[name] = known[name]
            if data.draw(st.integers(0, 3)):
                case.headers = {**(case.headers or {}), SITE_HEADER: "site-1"}
                case.headers[VERSION_HEADER] = str(VERSION)
            impatient(case.query)
            impatient(case.body)
            reply = case.call(
                base_url=url,
                cert=certificate,
                verify=str(kits.server.authority),
                timeout=HANGS_SECONDS,
            )
            statuses.add(reply.status_code)
            if reply.status_code == 507:
                assert reply.json()["code"] == ErrorCode.NO_SPACE
                return
            case.validate_response(reply, checks=CHECKS)

        calls()

    for operation in operations(services):
        mine = operation.path.startswith("/link/") is (role is Role.SITE)
        call_each(operation, TRIES if mine and role is not None else OTHERS_TRIES)
    if role is None:
        assert statuses == {200, 401}  # its health may be asked
    else:
        assert {200, 400, 403, 404} <= statuses
