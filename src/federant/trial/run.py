"""The rounds of a trial: the task exchanger of a client job, with a script at its other end."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from federant import codec
from federant.client.meeting_point import (
    HEARTBEAT_VARIABLE,
    JOB_VARIABLE,
    PIPE_VARIABLE,
    SITE_VARIABLE,
    SPOOL_VARIABLE,
)
from federant.exchange import DXO, DataKind, HeaderKey, MetaKey, ReturnCode
from federant.link.messages import Event, EventKind
from federant.pipe import LocalPipe, Mode, StoredFrame
from federant.server.aggregation import WeightedMean, leaves, path_text
from federant.server.validation import MODEL_KINDS, dxo_of, is_sane_weight, refusal_of
from federant.site.attempt import ExchangeLimits
from federant.site.config import TrainerConfig
from federant.site.exchanger import SiteTask, TaskExchanger
from federant.site.job_file import JobFolder
from federant.site.journal import Journal, StoredResult
from federant.site.metrics import MetricRelay
from federant.site.supervisor import TrainerSupervisor
from federant.trial.report import MetricSeen, TaskSeen, TensorSeen, TrialReport
from federant.trial.watch import Watch

_log = logging.getLogger(__name__)

_SITE, _JOB = "trial-site", "trial"
_HEARTBEAT_SECONDS = 30.0
_GRACE_SECONDS = 2.0
_SPOOL_BYTES = 8 << 30
_CHUNK_BYTES = 1 << 20
_KINDS = {
    "train": MODEL_KINDS,
    "validate": (DataKind.METRICS,),
    "evaluate": (DataKind.METRICS,),
    "submit_model": (DataKind.WEIGHTS,),
}
"""What a result may be, by the task's name; of a task of another name, anything."""


@dataclass(frozen=True, slots=True)
class TrialPlan:
    """What is tried out, and how long it may take."""

    command: Sequence[str]
    cwd: Path
    tasks: Sequence[str] = ("train",)
    """The names of the tasks of each round, in order."""
    rounds: int = 2
    model: DXO | None = None
    """What the first task carries; None for one without arrays."""
    timeout: float = 300.0
    """Seconds that one task may take, the start of the script included."""
    longer: str = "the plan's timeout"
    """What to raise for more of it, in words for people."""
    ending_seconds: float = 10.0
    """How long the script may take to end once the job is over."""


def run_trial(plan: TrialPlan, on_task: Callable[[TaskSeen], None] = lambda _: None) -> TrialReport:
    """Run the script through the plan's rounds, and end it; ``on_task`` hears of each result.

    Nothing is left when it returns or raises: no process, no file.
    """
    with tempfile.TemporaryDirectory(prefix="federant-trial-") as folder:
        trial = _Trial(plan, JobFolder(Path(folder)))
        try:
            return trial.run(on_task)
        finally:
            trial.close()


class _Trial:
    """One script, and the parts of a client job that serve it."""

    def __init__(self, plan: TrialPlan, folder: JobFolder) -> None:
        self._plan = plan
        self._folder = folder
        self._report = TrialReport(tuple(plan.command), patience_seconds=plan.ending_seconds)
        self._frame: tuple[StoredResult, StoredFrame | None] | None = None
        self._journal = Journal(folder.journal)
        token = self._journal.token()
        self._task_pipe = LocalPipe(Mode.PASSIVE, folder.pipe, token, _SPOOL_BYTES, defer=True)
        self._metric_pipe = LocalPipe(Mode.PASSIVE, folder.pipe, token, _SPOOL_BYTES)
        # The arguments are as they were typed: they hold no placeholders to be filled in.
        config = TrainerConfig(cwd=plan.cwd, grace_seconds=_GRACE_SECONDS).model_copy(
            update={"command": tuple(plan.command)}
        )
        self._supervisor = TrainerSupervisor(
            config,
            folder.root,
            {
                PIPE_VARIABLE: str(folder.pipe),
                SITE_VARIABLE: _SITE,
                JOB_VARIABLE: _JOB,
                HEARTBEAT_VARIABLE: str(_HEARTBEAT_SECONDS),
                SPOOL_VARIABLE: str(_SPOOL_BYTES),
            },
            self._journal,
            on_token=self._use_token,
            on_exit=self._trainer_ended,
            on_status=self._on_status,
        )
        self._exchanger = TaskExchanger(
            self._task_pipe,
            self._journal,
            self._supervisor,
            job_id=_JOB,
            site_name=_SITE,
            on_result=self._on_result,
            on_status=self._on_status,
            limits=ExchangeLimits(
                peer_read_timeout=None, task_wait_time=plan.timeout, longer=plan.longer
            ),
        )
        self._metrics = MetricRelay(self._metric_pipe, self._on_events)

    def run(self, on_task: Callable[[TaskSeen], None]) -> TrialReport:
        self._exchanger.start()
        self._metrics.start()
        started = time.monotonic()
        watch = Watch(
            lambda: self._supervisor.keeper_pid, self._task_pipe.get_last_peer_active_time
        )
        with watch:
            self._go_through_the_rounds(watch, on_task)
            self._end()
        if watch.joined is not None:
            self._report.joined_seconds = watch.joined - started
        self._report.last_lines = self._without_log(self._supervisor.last_words())
        return self._report

    def close(self) -> None:
        """End what still lives, at once."""
        self._supervisor.close(0.0)
        self._exchanger.close()
        self._metrics.close()
        self._journal.close()

    def _go_through_the_rounds(self, watch: Watch, on_task: Callable[[TaskSeen], None]) -> None:
        model = self._plan.model
        for number in range(self._plan.rounds):
            for place, name in enumerate(self._plan.tasks):
                seen = TaskSeen(name, number, carried_model=bool(model and model.data))
                self._report.tasks.append(seen)
                result = self._give(seen, f"{_JOB}-{number}-{place}", model)
                seen.peak_bytes = watch.take_peak()
                if result is not None:
                    model = result
                on_task(seen)
                if seen.rc != ReturnCode.OK:
                    return

    def _give(self, seen: TaskSeen, task_id: str, model: DXO | None) -> DXO | None:
        """Have one task done; the model that the next one carries, None if that is the same."""
        given = model or DXO(DataKind.WEIGHTS)
        task = SiteTask(
            task_id,
            1,
            seen.name,
            {HeaderKey.CURRENT_ROUND: seen.round, HeaderKey.NUM_ROUNDS: self._plan.rounds},
        )
        began = time.monotonic()
        self._frame = None
        result = self._exchanger.execute(task, given.to_shareable)
        seen.seconds = time.monotonic() - began
        if result is None:  # nobody cancels a task here
            raise RuntimeError(f"{seen.title} ended without a result")
        seen.rc = result.rc
        seen.error = self._without_log(str(result.headers.get(HeaderKey.ERROR, "")))
        seen.bytes = result.size
        path = self._kept_frame(task_id)
        return None if seen.rc != ReturnCode.OK else self._look_at(seen, task_id, given, path)

    def _look_at(self, seen: TaskSeen, task_id: str, given: DXO, path: Path | None) -> DXO | None:
        """See what is in a result, as the server would."""
        model_path = self._folder.root / f"{task_id}.model"
        model_path.write_bytes(codec.encode(given).to_bytes())
        refusal = refusal_of(
            seen.name, _KINDS.get(seen.name, ()), path, model_path if given.data else None
        )
        model_path.unlink()
        found = None
        if path is not None and (refusal is None or refusal.rc != ReturnCode.RESULT_UNREADABLE):
            found = dxo_of(codec.decode(path.read_bytes()).body)
        if found is not None:
            _describe(seen, found, given)
        if refusal is not None:
            seen.refusal = f"{refusal.rc}: {refusal.text}"
            self._exchanger.tell_refused(task_id, seen.refusal)
            return None
        if found is None or found.data_kind not in MODEL_KINDS:
            return None
        mean = WeightedMean(given)
        mean.add(found, 1.0)  # one result is its own mean, bit by bit, by whatever weight
        return mean.mean()

    def _kept_frame(self, task_id: str) -> Path | None:
        """The result's frame as a file of its own; what the pipe kept is given back."""
        if self._frame is None:
            return None
        result, frame = self._frame
        self._journal.confirmed(result)
        path = self._folder.root / f"{task_id}.result"
        if result.inline is not None:
            path.write_bytes(result.inline)
        elif result.path is not None:
            _copy(result.path, path, result.size)
        else:
            return None
        if frame is not None:
            frame.release()
        return path

    def _end(self) -> None:
        """Say that the job is over, and see how the script takes it."""
        self._exchanger.stop()
        failed = any(task.rc != ReturnCode.OK for task in self._report.tasks)
        self._supervisor.wait(_GRACE_SECONDS if failed else self._plan.ending_seconds)
        ended = self._supervisor.exit
        if ended is not None:
            self._report.ended, self._report.clean = str(ended), ended.clean
            self._report.left = ended.left

    def _without_log(self, text: str) -> str:
        """The text without the name of the log, a file that goes with the trial."""
        log = self._folder.root / "trainer.log"
        return text.replace(f"the last lines of {log}:", "the last lines that it printed:")

    # -- what the parts tell ----------------------------------------------------------------------

    def _use_token(self, token: str) -> None:
        self._task_pipe.token = token
        self._metric_pipe.token = token

    def _trainer_ended(self) -> None:
        self._exchanger.trainer_ended()

    def _on_result(self, result: StoredResult, frame: StoredFrame | None) -> None:
        self._frame = result, frame

    def _on_status(self, state: str, text: str) -> None:
        _log.info("status state=%s text=%s", state, text)
        if state == "started":
            self._report.starts += 1
        elif state == "unasked":
            self._report.unasked.append(text)

    def _on_events(self, events: Iterable[Event]) -> None:
        for event in events:
            if event.kind == EventKind.DROPPED:
                self._report.dropped.append(event.text)
                continue
            tag = event.tag or event.kind
            seen = self._report.metrics.setdefault(tag, MetricSeen(tag))
            seen.count += 1
            seen.last = event.value if event.value is not None else event.text


def _describe(seen: TaskSeen, found: DXO, given: DXO) -> None:
    seen.kind = str(found.data_kind)
    parts = [(path_text(path), value) for path, value in leaves(found.data)]
    seen.tensors = tuple(
        TensorSeen(name, value.shape, str(value.dtype))
        for name, value in parts
        if isinstance(value, np.ndarray | np.generic)
    )
    if found.data_kind == DataKind.METRICS:
        seen.values = {name: _plain(value) for name, value in parts}
    else:
        metrics = found.get_meta_prop(MetaKey.INITIAL_METRICS)
        if isinstance(metrics, dict):
            seen.values = {str(name): _plain(value) for name, value in metrics.items()}
    weight = found.get_meta_prop(MetaKey.NUM_STEPS_CURRENT_ROUND)
    seen.weight = float(weight) if is_sane_weight(weight) else None
    sent = dict(leaves(given.data))
    seen.unchanged = (
        bool(sent)
        and found.data_kind == DataKind.WEIGHTS
        and all(path in sent and _same(value, sent[path]) for path, value in leaves(found.data))
    )


def _same(one: Any, other: Any) -> bool:
    return bool(np.array_equal(np.asarray(one), np.asarray(other)))


def _plain(value: Any) -> Any:
    """The value, or what it is as text if JSON has nothing like it."""
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def _copy(source: Path, target: Path, size: int) -> None:
    """The first bytes of a file; what follows in a file of the spool is of no meaning."""
    with source.open("rb") as read, target.open("wb") as written:
        while size > 0 and (chunk := read.read(min(size, _CHUNK_BYTES))):
            size -= written.write(chunk)
