"""What a workflow's run sees: who takes part, and the acts it can do; each act is journaled."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from federant.exchange import DXO, HeaderKey, Shareable
from federant.link.messages import MAX_TEXT_CHARS, BlobRef, Event, EventKind, JobSpec, SiteState
from federant.server.state import JobSiteRow, NewTask, StepRow, task_id
from federant.server.validation import Expected, ExpectedTrees, ModelShape, dxo_of, expectation
from federant.server.workflow.errors import TooFewSitesError, WorkflowError
from federant.server.workflow.frames import get_body, put_body
from federant.server.workflow.gathering import Gathering, SiteResult, standing
from federant.server.workflow.journal import Journal
from federant.server.workflow.rounds import round_begins

_log = logging.getLogger(__name__)

_MODEL = "model"
_WAIT_FOR_SITES = "wait_for_sites"
_SERVER = ""
"""The site of events that are the workflow's own."""


def sites_wanted(step: StepRow) -> int | None:
    """How many sites the step waits for to be ready; None if it is none that waits for sites."""
    return int(step.detail["call"]["count"]) if step.kind == _WAIT_FOR_SITES else None


class Context:
    """A workflow's hands and eyes.  Used by the thread that runs the workflow, and by no other.

    Every call may raise ``Interrupted`` when the run is to end.
    """

    def __init__(self, spec: JobSpec, journal: Journal, *, seed: int | None = None) -> None:
        self.job_id = journal.job_id
        self.spec = spec
        self.params: Mapping[str, Any] = spec.params
        self._journal = journal
        self._seed = journal.job_id if seed is None else str(seed)
        self._random = random.Random()  # noqa: S311 - for choices, not for secrets
        self._random_of: int | None = None
        self._told = 0
        self._told_in = 0

    # ---- who takes part ---------------------------------------------------------------------

    def sites(self) -> list[str]:
        """The sites that take part in the job now, by name; the answer is journaled.

        Of a job that names its sites: all that have not left it, those not yet ready among them.
        Of another: those that are ready.
        """
        found: list[str] = self._journal.once("sites", {}, self._sites)
        return found

    def wait_for_sites(self, count: int, *, timeout: float | None = None) -> list[str]:
        """Wait until ``count`` of the job's sites are ready; those that are.

        TooFewSitesError if they are not within ``timeout`` seconds, or will never be.
        """
        call = {"count": count, "timeout": timeout}
        step = self._journal.begin(
            _WAIT_FOR_SITES, call, {"deadline": self._journal.deadline(timeout)}
        )
        deadline = step.detail["deadline"]
        while step.outcome is None:
            version = self._journal.version()
            parts = self._journal.store.job_sites(self.job_id)
            ready = [part.site for part in parts if part.state is SiteState.READY]
            if len(ready) >= count:
                step = self._journal.close(step, {"sites": ready})
                break
            late = deadline is not None and self._journal.clock() >= deadline
            self._require_hope(count, parts, late=late)
            self._journal.wait(version, deadline)
        sites: list[str] = list((step.outcome or {})["sites"])
        return sites

    @property
    def random(self) -> random.Random:
        """Random choices that are the same each time the run is replayed: seeded by job and step.

        With a ``seed`` among the job's parameters they are the same for each such job.
        """
        number = self._journal.next_number
        if self._random_of != number:
            self._random.seed(f"{self._seed}:{number}")
            self._random_of = number
        return self._random

    # ---- tasks ------------------------------------------------------------------------------

    def broadcast(
        self,
        name: str,
        data: DXO | Shareable,
        sites: Iterable[str] | None = None,
        *,
        current_round: int | None = None,
        total_rounds: int | None = None,
        min_results: int = 0,
        timeout: float | None = None,
        expect: Expected = (),
        headers: Mapping[str, Any] | None = None,
    ) -> Gathering:
        """Give each site the same task; iterate over what comes back.

        ``sites``: by default all that take part as the step begins (see ``sites()``).
        ``min_results``: how many good results are enough, 0 for all.  ``timeout``: seconds for the
        whole step.  ``expect``: the kinds of DXO that a result may be, none for any; of a kind that
        is a model's, it must fit the model.  ExpectedTrees for trees.  ``headers``: what else the
        task is to carry, by HeaderKey, as JSON has it.

        TooFewSitesError if there is no site to be asked.
        """
        return self._broadcast(
            "broadcast",
            name,
            data,
            None if sites is None else list(dict.fromkeys(sites)),
            current_round=current_round,
            total_rounds=total_rounds,
            min_results=min_results,
            timeout=timeout,
            expect=expect,
            headers=headers,
        )

    def send(
        self,
        site: str,
        name: str,
        data: DXO | Shareable,
        *,
        current_round: int | None = None,
        total_rounds: int | None = None,
        timeout: float | None = None,
        expect: Expected = (),
    ) -> SiteResult:
        """Give one site a task, and wait for what it returns; arguments as of ``broadcast``."""
        [result] = self._broadcast(
            "send",
            name,
            data,
            [site],
            current_round=current_round,
            total_rounds=total_rounds,
            min_results=0,
            timeout=timeout,
            expect=expect,
        )
        return result

    def relay(
        self,
        sites: Iterable[str],
        name: str,
        data: DXO | Shareable,
        *,
        current_round: int | None = None,
        total_rounds: int | None = None,
        timeout: float | None = None,
        expect: Expected = (),
    ) -> list[SiteResult]:
        """Give the task to one site after the other, each with what the one before it returned.

        What each returned, in order.  A site that fails is passed over.  ``timeout`` is each
        site's; other arguments as of ``broadcast``.
        """
        results = []
        for site in sites:
            result = self.send(
                site,
                name,
                data,
                current_round=current_round,
                total_rounds=total_rounds,
                timeout=timeout,
                expect=expect,
            )
            results.append(result)
            if result.ok and result.dxo is not None:
                data = result.dxo
        return results

    # ---- models -----------------------------------------------------------------------------

    @property
    def initial_model(self) -> DXO | None:
        """The model that the job was submitted with; its arrays are read-only."""
        blob = self.spec.initial_model
        return None if blob is None else self._model(blob)

    def save_model(
        self, model: DXO, *, current_round: int, metrics: Mapping[str, Any] | None = None
    ) -> DXO:
        """Keep the global model of a round, with figures about it (numbers and texts).

        Returns it as it is kept: its arrays are read-only views of a file, which take no memory
        before they are looked at.
        """
        blob = put_body(self._journal.blobs, model)
        self._journal.once(
            _MODEL,
            {"round": current_round, "digest": blob.digest},
            lambda: self._journal.store.save_model(self.job_id, current_round, blob, metrics),
        )
        return self._model(blob)

    def load_model(self, number: int) -> DXO:
        """The model kept for a round; its arrays are read-only.  WorkflowError if there is none."""
        for kept in self._journal.store.models(self.job_id):
            if kept.round == number:
                return self._model(kept.blob)
        raise WorkflowError(f"job {self.job_id} has kept no model of round {number}")

    def resume(self) -> tuple[int, DXO | None]:
        """Where to begin: the number of the first round to be done, and the model it begins with.

        At first that is 0 and the initial model.  After a restart it is what follows the newest
        model kept: the rounds before it are not gone through again.  Only for a workflow in which
        all that a round needs is its number and the model.
        """
        self._journal.check()
        newest = self._journal.store.newest_step(self.job_id)
        for number in range(newest.number if newest else -1, self._journal.next_number - 1, -1):
            step = self._journal.store.step(self.job_id, number)
            if step is not None and step.kind == _MODEL and not step.open:
                self._journal.next_number = number + 1
                done = int(step.detail["call"]["round"])
                return done + 1, self.load_model(done)
        return 0, self.initial_model

    # ---- facts and words --------------------------------------------------------------------

    def remember(self, what: str, find: Callable[[], Any]) -> Any:
        """The value of ``find()`` (as JSON has it), and the same value each time after that.

        For what may differ from run to run: the time, the answer of another service.
        """
        return self._journal.once("remember", {"what": what}, find)

    def log(self, text: str) -> None:
        """A line for the operator, in the job's events; one that is too long is cut."""
        self._tell(EventKind.TEXT, "log", None, None, text[:MAX_TEXT_CHARS])

    def metric(self, tag: str, value: float, step: int | None = None) -> None:
        """A number for the operator, in the job's events."""
        self._tell(EventKind.METRIC, tag, float(value), step, "")

    # ---- inside -----------------------------------------------------------------------------

    def _broadcast(
        self,
        kind: str,
        name: str,
        data: DXO | Shareable,
        sites: list[str] | None,
        *,
        current_round: int | None,
        total_rounds: int | None,
        min_results: int,
        timeout: float | None,
        expect: Expected,
        headers: Mapping[str, Any] | None = None,
    ) -> Gathering:
        blob = put_body(self._journal.blobs, data)
        deadline = self._journal.deadline(timeout)
        rounds = {HeaderKey.CURRENT_ROUND: current_round, HeaderKey.NUM_ROUNDS: total_rounds}
        told = {**(headers or {}), **{key: at for key, at in rounds.items() if at is not None}}

        def tasks(number: int) -> list[NewTask]:
            asked = self._sites() if sites is None else sites
            if not asked:
                parts = self._journal.store.job_sites(self.job_id)
                raise TooFewSitesError(
                    f"there is no site to be given task {name!r} (sites of job {self.job_id}: "
                    f"{standing(parts)})"
                )
            if not 0 <= min_results <= len(asked):
                raise ValueError(
                    f"min_results must be from 0 to the number of sites, {len(asked)}; "
                    f"it is {min_results}"
                )
            return [
                NewTask(
                    id=task_id(self.job_id, number, site),
                    site=site,
                    name=name,
                    headers=told,
                    blob=blob,
                    expect=expectation(expect),
                    deadline=deadline,
                )
                for site in asked
            ]

        call = {
            "name": name,
            "digest": blob.digest,
            "sites": sites,
            "min_results": min_results,
            "timeout": timeout,
            "expect": (
                expectation(expect)
                if isinstance(expect, ExpectedTrees)
                else [str(kind) for kind in expect]
            ),
        }
        facts = {"round": current_round, "total_rounds": total_rounds, "deadline": deadline}

        def begins(number: int, new: Sequence[NewTask]) -> list[Event]:
            return round_begins(number, facts, name, [task.site for task in new])

        step = self._journal.begin(kind, call, facts, tasks, begins)
        model = dxo_of(data)
        return Gathering(
            self._journal,
            step,
            carries_model=model is not None and ModelShape.of(model.data) is not None,
            on_failure=self._tell_failure,
        )

    def _sites(self) -> list[str]:
        parts = self._journal.store.job_sites(self.job_id)
        if self.spec.sites:
            return [part.site for part in parts if not part.state.gone]
        # Of all that the server knows, some may be switched off for good: nobody waits for them.
        return [part.site for part in parts if part.state is SiteState.READY]

    def _require_hope(self, count: int, parts: Sequence[JobSiteRow], *, late: bool) -> None:
        gone = [part for part in parts if part.state.gone]
        possible = len(parts) - len(gone)
        if not late and (not self.spec.sites or possible >= count):
            return
        ready = [part.site for part in parts if part.state is SiteState.READY]
        silent = [part.site for part in parts if part.state is SiteState.PENDING]
        of = f"of its {len(parts)}"
        what = f"{len(ready)} {of} were ready in time"
        if not late:
            what = f"only {possible} {of} can still take part"
        raise TooFewSitesError(
            f"{count} sites are needed for job {self.job_id}; {what} "
            f"(ready: {', '.join(ready) or 'none'}; silent: {', '.join(silent) or 'none'}; "
            f"gone: {standing(gone)}); start their federant site, or ask for fewer"
        )

    def _model(self, blob: BlobRef) -> DXO:
        model = dxo_of(get_body(self._journal.blobs, blob))
        if model is None:
            raise WorkflowError(f"blob {blob.digest} of job {self.job_id} holds no model")
        return model

    def _tell_failure(self, result: SiteResult) -> None:
        _log.warning(
            "task failed job=%s site=%s task=%s rc=%s error=%s",
            self.job_id, result.site, result.task_id, result.rc, result.error,
        )  # fmt: skip
        event = Event(
            id=f"failed-{result.task_id}", kind="TEXT", tag="failure",
            text=str(result)[:MAX_TEXT_CHARS], task=result.task_id,
        )  # fmt: skip
        self._journal.store.add_events(self.job_id, _SERVER, [event])

    def _tell(self, kind: str, tag: str, value: float | None, step: int | None, text: str) -> None:
        """An event under an id that a replayed run gives it again, so that it counts once."""
        self._journal.check()
        number = self._journal.next_number
        if self._told_in != number:
            self._told_in, self._told = number, 0
        self._told += 1
        event = Event(
            id=f"step-{number}-{self._told}", kind=kind, tag=tag, value=value, step=step, text=text
        )
        self._journal.store.add_events(self.job_id, _SERVER, [event])
