"""A certificate that is revoked is good no more: for new connections, and for those there are."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from federant.link import LinkClient, LinkRefused, LinkUnavailable, blob_ref
from federant.link.certificate import read_certificate
from federant.link.identity import Identity, Role
from federant.link.kit import Kit
from federant.link.messages import ErrorCode, Event, JobSpec
from federant.link.operator import Federation, connect
from federant.provision import FederationKits
from federant.server.blobs import FolderBlobs
from federant.server.routes.services import Services
from federant.server.state import Durability, NewTask, Store, TaskState
from federant.server.wakeups import Wakeups
from federant.site import SiteConfig
from federant.site.daemon import SiteDaemon
from federant.site.events import EventSender
from federant.site.journal import Journal, StoredResult
from federant.site.leases import LeaseKeeper
from federant.site.outbox import Outbox

Denials = Callable[[], str]
ServingTls = Callable[..., AbstractContextManager[str]]
OddKit = Callable[..., Kit]

PATIENCE = 60.0
MIB = 1 << 20


def serial_of(kit: Kit) -> str:
    return read_certificate(kit.certificate).serial


def until(what: str, look: Callable[[], object]) -> None:
    """Wait for what another thread does; fails with ``what`` if it never comes."""
    deadline = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.01)


@pytest.fixture
def operator(url: str, kits: FederationKits) -> Iterator[Federation]:
    with connect(url, kit=kits.operators["alice"].folder) as federation:
        yield federation


@pytest.fixture
def site_1(url: str, kits: FederationKits) -> Iterator[LinkClient]:
    with LinkClient(url, "site-1", kit=kits.sites["site-1"]) as client:
        yield client


class LongPoll:
    """A site's question for its jobs, which the server answers after a minute if there is none."""

    def __init__(self, client: LinkClient) -> None:
        self._client = client
        self.outcome: object = None
        self._thread = threading.Thread(target=self._ask, name=f"poll-{client.site}")
        self._thread.start()

    def _ask(self) -> None:
        try:
            self.outcome = self._client.next_jobs({}, 60.0)
        except LinkUnavailable as error:
            self.outcome = error

    def ended(self) -> object:
        self._thread.join(PATIENCE / 2)
        assert not self._thread.is_alive()
        return self.outcome


def test_a_new_connection_of_a_revoked_certificate_is_refused_by_name(
    url: str, operator: Federation, kits: FederationKits, denials: Denials
) -> None:
    serial = serial_of(kits.sites["site-1"])
    operator.revoke(serial)
    with (
        LinkClient(url, "site-1", kit=kits.sites["site-1"]) as client,
        pytest.raises(LinkRefused) as caught,
    ):
        client.hello("place-1")
    assert caught.value.code == ErrorCode.CERTIFICATE_REVOKED
    assert f"the certificate of site site-1, serial number {serial}, was revoked" in str(
        caught.value
    )
    assert f"denied who='site site-1 (serial {serial})'" in denials()
    assert "code=certificate_revoked" in denials()


def test_a_live_long_poll_of_a_revoked_certificate_is_cut_at_once(
    operator: Federation,
    site_1: LinkClient,
    kits: FederationKits,
    services: Services,
    caplog: pytest.LogCaptureFixture,
) -> None:
    poll = LongPoll(site_1)
    until("the question", services.store.sites)
    serial = serial_of(kits.sites["site-1"])
    operator.revoke(serial, "its disk was stolen")
    assert isinstance(poll.ended(), LinkUnavailable)
    with pytest.raises(LinkRefused) as caught:
        site_1.next_jobs({}, 0.0)
    assert caught.value.code == ErrorCode.CERTIFICATE_REVOKED
    logged = [record.message for record in caplog.records]
    assert (
        f"revoked serial={serial} of='site site-1' by='operator alice' reason='its disk was stolen'"
    ) in logged
    assert any(line.startswith("cut client=") and serial in line for line in logged)


def test_an_upload_under_way_is_cut_and_what_came_of_it_is_no_blob(
    operator: Federation, site_1: LinkClient, kits: FederationKits, services: Services
) -> None:
    whole = [bytes([number]) * MIB for number in range(16)]
    blob = blob_ref(whole)

    def chunks(_offset: int) -> Iterator[bytes]:
        yield from whole[:2]
        operator.revoke(serial_of(kits.sites["site-1"]))
        yield from whole[2:]

    with pytest.raises(LinkUnavailable):
        site_1.put_blob(blob, chunks)
    assert services.blobs.size(blob.digest) is None


def test_nobody_else_is_cut(
    url: str,
    operator: Federation,
    kits: FederationKits,
    services: Services,
) -> None:
    with LinkClient(url, "site-2", kit=kits.sites["site-2"]) as client:
        poll = LongPoll(client)
        until("the question", services.store.sites)
        operator.revoke(serial_of(kits.sites["site-1"]))
        job = operator.submit(trainer="digits", sites=["site-2"])
        assert [told.job_id for told in poll.ended()] == [job.id]  # type: ignore[attr-defined]


def test_a_site_is_let_in_with_another_certificate(
    url: str, operator: Federation, kits: FederationKits, odd: OddKit
) -> None:
    operator.revoke(serial_of(kits.sites["site-1"]))
    renewed = odd(Identity("test", Role.SITE, "site-1"))
    with LinkClient(url, "site-1", kit=renewed) as client:
        client.hello("place-1")


def test_revocations_outlive_the_server(
    tmp_path: Path, serving_tls: ServingTls, kits: FederationKits, blobs: FolderBlobs
) -> None:
    def serving(store: Store) -> AbstractContextManager[str]:
        return serving_tls(Services(store, blobs, Wakeups(), "s-test"))

    alice, site_1 = kits.operators["alice"], kits.sites["site-1"]
    first = Store.in_file(tmp_path / "own.db", durability=Durability.PROCESS)
    with serving(first) as url, connect(url, kit=alice.folder) as operator:
        revoked = operator.revoke(serial_of(site_1), "lost")
    first.close()
    second = Store.in_file(tmp_path / "own.db", durability=Durability.PROCESS)
    with serving(second) as url:
        with connect(url, kit=alice.folder) as operator:
            assert operator.revocations() == (revoked,)
        with LinkClient(url, "site-1", kit=site_1) as client, pytest.raises(LinkRefused) as caught:
            client.hello("place-1")
    assert caught.value.code == ErrorCode.CERTIFICATE_REVOKED
    second.close()


def test_a_revocation_tells_whose_certificate_it_was_and_who_revoked_it(
    operator: Federation, site_1: LinkClient, kits: FederationKits
) -> None:
    site_1.hello("place-1")
    revoked = operator.revoke(serial_of(kits.sites["site-1"]), "lost")
    assert (revoked.identity, revoked.by, revoked.reason) == (
        "site site-1",
        "operator alice",
        "lost",
    )


def test_revoking_twice_leaves_the_first_revocation_as_it_is(
    operator: Federation, kits: FederationKits
) -> None:
    serial = serial_of(kits.sites["site-1"])
    first = operator.revoke(serial, "lost")
    assert operator.revoke(serial, "found") == first
    assert operator.revocations() == (first,)


def test_an_operator_cannot_lock_itself_out(operator: Federation, kits: FederationKits) -> None:
    with pytest.raises(LinkRefused, match="you would lock yourself out; renew your kit") as caught:
        operator.revoke(serial_of(kits.operators["alice"]))
    assert caught.value.code == ErrorCode.CONFLICT
    assert operator.revocations() == ()


def test_the_servers_own_certificate_cannot_be_revoked_at_the_server(
    operator: Federation, kits: FederationKits
) -> None:
    with pytest.raises(LinkRefused, match="this server's own certificate") as caught:
        operator.revoke(serial_of(kits.server))
    assert caught.value.code == ErrorCode.CONFLICT
    assert operator.revocations() == ()


def test_a_serial_number_may_be_written_as_other_tools_do(
    operator: Federation, kits: FederationKits
) -> None:
    serial = serial_of(kits.sites["site-1"])
    digits = serial.upper().zfill(40)
    pairs = ":".join(digits[at : at + 2] for at in range(0, 40, 2))
    assert operator.revoke(pairs).serial == serial
    assert operator.revoke(f"0x{digits}").serial == serial


@pytest.mark.parametrize("text", ["", "0", "site-1", "1" * 41])
def test_what_is_no_serial_number_is_refused_before_anything_is_sent(
    operator: Federation, text: str
) -> None:
    with pytest.raises(ValueError, match="up to 40 hexadecimal digits"):
        operator.revoke(text)


# ---- what a revoked site keeps ------------------------------------------------------------------


def test_a_revoked_site_keeps_its_results_for_its_next_certificate(
    url: str,
    operator: Federation,
    site_1: LinkClient,
    kits: FederationKits,
    odd: OddKit,
    services: Services,
    denials: Denials,
    tmp_path: Path,
) -> None:
    problems: list[str] = []

    def outbox(link: LinkClient, journal: Journal) -> Outbox:
        made = Outbox(
            *(link, journal),
            on_problem=lambda _, text: problems.append(text),
            on_refused=lambda _, text: problems.append(text),
            on_failure=lambda error: problems.append(repr(error)),
        )
        made.start()
        return made

    job = services.store.create_job(JobSpec(name="n", trainer="t", sites=("site-1",)))
    services.store.begin_step(
        job.id, 0, "broadcast", {}, [NewTask(id="task-1", site="site-1", name="train")]
    )
    services.store.next_task(job.id, "site-1", "holder-1", (), 60.0)
    journal = Journal(tmp_path / "journal.db")
    journal.add_result(StoredResult("task-1", 1, "OK", {}))
    operator.revoke(serial_of(kits.sites["site-1"]))
    revoked = outbox(site_1, journal)
    until("two tries", lambda: denials().count("call=POST '/link/v1/tasks/task-1/result'") >= 2)
    assert revoked.holding() == ["task-1"]
    assert [result.task_id for result in journal.results()] == ["task-1"]
    assert problems == []
    revoked.stop()
    renewed = odd(Identity("test", Role.SITE, "site-1"))
    with LinkClient(url, "site-1", kit=renewed) as link:
        again = outbox(link, journal)
        assert again.flush(PATIENCE)
        again.stop()
    assert services.store.task("task-1").state is TaskState.DONE
    assert (journal.results(), problems) == ([], [])
    journal.close()


def test_a_revoked_site_goes_on_with_its_task_and_its_metrics_wait(
    operator: Federation, site_1: LinkClient, kits: FederationKits, denials: Denials
) -> None:
    void: list[str] = []
    failures: list[BaseException] = []
    leases = LeaseKeeper(site_1, "holder-1", lambda task_id, _reason: void.append(task_id))
    sender = EventSender(site_1, "job-1", failures.append)
    operator.revoke(serial_of(kits.sites["site-1"]))
    leases.hold("task-1")
    sender.start()
    sender.add([Event(id="e1", kind="METRIC", tag="loss", value=1.0)])
    until("two tries to keep the task", lambda: denials().count("/tasks/task-1/renew'") >= 2)
    until("two tries to send metrics", lambda: denials().count("/jobs/job-1/events'") >= 2)
    assert (void, failures) == ([], [])
    assert not sender.flush(0.0)
    leases.stop()
    sender.stop()


def test_the_daemon_of_a_revoked_site_goes_on_trying(
    url: str,
    operator: Federation,
    site_1: LinkClient,
    kits: FederationKits,
    denials: Denials,
    tmp_path: Path,
) -> None:
    ready, ended = threading.Event(), threading.Event()
    config = SiteConfig(name="site-1", server=url, folder=tmp_path, kit=kits.sites["site-1"].folder)
    turns: list[int] = []
    daemon = SiteDaemon(config, site_1, ready.set, each_turn=lambda: turns.append(1))
    daemon.start(on_failure=ended.set)
    assert ready.wait(PATIENCE)
    operator.revoke(serial_of(kits.sites["site-1"]))
    until("two tries", lambda: denials().count("code=certificate_revoked") >= 2)
    assert not ended.is_set()
    assert len(turns) >= 3
    daemon.stop()
