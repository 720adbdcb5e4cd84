"""The results of one step's tasks, as they arrive; who is asked and what for is not said here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any, Final

from federant.exchange import DXO, MetaKey, ReturnCode, Shareable
from federant.link.messages import BlobRef
from federant.server.blobs import BlobStore
from federant.server.state import JobSiteRow, StepRow, TaskRow, TaskState
from federant.server.validation import (
    MODEL_KINDS,
    Refusal,
    dxo_of,
    expected_kinds,
    is_sane_weight,
    judge_by,
)
from federant.server.workflow.errors import TooFewSitesError, WorkflowError
from federant.server.workflow.frames import get_body
from federant.server.workflow.journal import Journal
from federant.server.workflow.rounds import round_ends, round_words

_DEADLINE: Final = "deadline"


def standing(parts: Iterable[JobSiteRow]) -> str:
    """How sites stand with their job, for people."""
    texts = [
        f"{part.site} {part.state}" + (f": {part.text}" if part.text else "") for part in parts
    ]
    return "; ".join(texts) or "none"


class SiteResult:
    """What a site returned for a task, or why it returned nothing: ``rc`` and ``error``."""

    def __init__(
        self, task: TaskRow, rc: str, error: str, blobs: BlobStore, blob: BlobRef | None
    ) -> None:
        self.site = task.site
        self.task_id = task.id
        self.rc = rc
        """A ReturnCode."""
        self.error = error
        """A sentence for people; empty if all is well."""
        self.headers = task.result_headers
        self._blobs = blobs
        self._blob = blob

    @property
    def ok(self) -> bool:
        return self.rc == ReturnCode.OK

    @cached_property
    def body(self) -> object:
        """What the site sent, None if nothing; its arrays are read-only views of the blob."""
        return None if self._blob is None else get_body(self._blobs, self._blob)

    @cached_property
    def data(self) -> DXO:
        """The DXO that the site sent; WorkflowError if it sent none (``body`` is what it sent)."""
        dxo = self.dxo
        if dxo is None:
            raise WorkflowError(f"the result of {self.task_id} holds no DXO ({self})")
        return dxo

    @cached_property
    def dxo(self) -> DXO | None:
        """The DXO that the site sent, if it sent one."""
        return dxo_of(self.body) if isinstance(self.body, DXO | Shareable) else None

    @property
    def weight(self) -> float:
        """The examples or steps that went into the result, 1 if it does not say."""
        meta = self.dxo.meta if self.dxo else {}
        weight = meta.get(MetaKey.NUM_STEPS_CURRENT_ROUND, 1.0)
        return float(weight) if is_sane_weight(weight) else 1.0

    def __str__(self) -> str:
        error = self.error.strip()
        between = ":\n" if error.startswith("Traceback") else ": "
        return f"{self.site}: {self.rc}" + (between + error if error else "")


class Gathering:
    """The results of a step's tasks; iterate to get each as it arrives, failures among them.

    It ends when every site has answered, when ``min_results`` good ones are there, or at the
    deadline; a site that has not answered by then is a failure too.  What it yielded is journaled
    as it ends: iterating again, also after a restart, yields the same in the same order.  It holds
    no results: memory does not grow with the number of sites unless you keep them.
    """

    def __init__(
        self,
        journal: Journal,
        step: StepRow,
        *,
        carries_model: bool,
        on_failure: Callable[[SiteResult], None],
    ) -> None:
        self.failed: list[SiteResult] = []
        """The failures among what was yielded so far."""
        self.succeeded = 0
        """How many good results were yielded so far."""
        self._journal = journal
        self._step = step
        self._on_failure = on_failure
        self._min_results: int = step.detail["call"]["min_results"]
        self._deadline: float | None = step.detail["deadline"]
        self._carries_model = carries_model
        self._judge: Callable[[DXO], Refusal | None] | None = None
        self._yielded: dict[str, None] = {}  # task ids, in order

    @property
    def sites(self) -> list[str]:
        """Who was asked."""
        return [task.site for task in self._tasks()]

    def __iter__(self) -> Iterator[SiteResult]:
        self.failed, self.succeeded, self._judge, self._yielded = [], 0, None, {}
        return self._replayed() if self._step.outcome is not None else self._arriving()

    def require(self, count: int) -> None:
        """TooFewSitesError if fewer good results were yielded.

        It names each failure, and the sites of the job that were not asked because they had left
        it or were not ready.
        """
        if self.succeeded < count:
            call = self._step.detail["call"]
            reasons = [*map(str, self.failed)] or ["no more were waited for"]
            asked = self.sites
            parts = self._journal.store.job_sites(self._journal.job_id)
            left_out = [part for part in parts if part.site not in asked]
            if left_out and call["sites"] is None:
                reasons.append(f"not asked: {standing(left_out)}")
            where = round_words(self._step.detail)
            raise TooFewSitesError(
                f"{self.succeeded} of {len(self._yielded)} sites gave a good result for "
                f"{call['name']!r}"
                + (f" in {where}" if where else f" (step {self._step.number})")
                + f" and {count} are needed: "
                + (";\n" if any("\n" in text for text in reasons) else "; ").join(reasons)
            )

    def close(self) -> None:
        """Wait for no more results; the tasks of those who have not answered are cancelled."""
        if self._step.outcome is None:
            self._close("closed")

    def _arriving(self) -> Iterator[SiteResult]:
        while True:
            version = self._journal.version()
            tasks = self._tasks()
            fresh = [
                task
                for task in tasks
                if task.state is TaskState.DONE and task.id not in self._yielded
            ]
            for task in sorted(fresh, key=lambda task: task.seq or 0):
                yield self._take(task)
                if self._step.outcome is not None:
                    return
                if self._min_results and self.succeeded >= self._min_results:
                    self._close("enough")
                    return
            if len(self._yielded) == len(tasks):
                self._close("all")
                return
            if fresh:
                continue  # while they were being dealt with, more may have come
            if self._deadline is not None and self._journal.clock() >= self._deadline:
                self._close(_DEADLINE)
                yield from self._unheard(tasks)
                return
            self._journal.wait(version, self._deadline)

    def _replayed(self) -> Iterator[SiteResult]:
        outcome = self._step.outcome or {}
        tasks = self._tasks()
        by_id = {task.id: task for task in tasks}
        for task_id in outcome["results"]:
            yield self._take(by_id[task_id])
        if outcome["ended_by"] == _DEADLINE:
            yield from self._unheard(tasks)

    def _take(self, task: TaskRow) -> SiteResult:
        blob = task.result_blob if task.rc == ReturnCode.OK else None
        result = SiteResult(task, task.rc, task.error, self._journal.blobs, blob)
        misfit = self._misfit(task, result)
        if misfit is not None:
            result = SiteResult(task, misfit.rc, misfit.text, self._journal.blobs, None)
        return self._count(result)

    def _unheard(self, tasks: list[TaskRow]) -> Iterator[SiteResult]:
        for task in tasks:
            if task.id not in self._yielded:
                error = f"no result of task {task.name} came before its deadline"
                rc = ReturnCode.TASK_TIMEOUT
                yield self._count(SiteResult(task, rc, error, self._journal.blobs, None))

    def _count(self, result: SiteResult) -> SiteResult:
        self._yielded[result.task_id] = None
        if result.ok:
            self.succeeded += 1
        else:
            self.failed.append(result)
            self._on_failure(result)
        return result

    def _misfit(self, task: TaskRow, result: SiteResult) -> Refusal | None:
        """Why new weights do not fit those of the first result.

        Each was checked when it was committed, but of two that came at once neither was the first.
        """
        if self._carries_model or not result.ok or not expected_kinds(task.expect):
            return None
        if result.dxo is None or result.dxo.data_kind not in MODEL_KINDS:
            return None
        if self._judge is None:
            self._judge = judge_by(result.dxo, task.expect)
            return None
        return self._judge(result.dxo)

    def _close(self, ended_by: str) -> None:
        outcome: dict[str, Any] = {"ended_by": ended_by, "results": list(self._yielded)}
        told = round_ends(
            self._step.number,
            self._step.detail,
            self._step.detail["call"]["name"],
            good=self.succeeded,
            asked=len(self._tasks()),
        )
        self._step = self._journal.close(self._step, outcome, told)

    def _tasks(self) -> list[TaskRow]:
        return self._journal.store.step_tasks(self._journal.job_id, self._step.number)
