"""One script's place in the federation: the model it holds, and whether a result is due for it.

Everything goes through an agent; how it talks, and which process it is in, is not known here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from federant.client.difference import Received
from federant.client.errors import AgentClosed, AgentEndException, ApiCallError, DifferenceError
from federant.client.talker import Talker, Together
from federant.client.task import Task
from federant.exchange import (
    AnalyticsDataType,
    FLModel,
    HeaderKey,
    ParamsType,
    create_analytic_dxo,
)

TRAIN_TASK: Final = "train"
EVALUATE_TASKS: Final = ("validate", "evaluate")
SUBMIT_MODEL_TASK: Final = "submit_model"

logger = logging.getLogger(__name__)


Check = Callable[[object], None]
"""Raises TypeError for what is no FLModel."""


class ModelExchange:
    """Receives models and sends models through one agent; for one thread at a time.

    Only ``log`` and ``shutdown`` may be called from any thread.
    """

    def __init__(self, agent: Talker) -> None:
        self.closed = False
        """Whether shutdown was called."""
        self.evaluation: dict[str, Any] | None = None
        """Scores of the model that is held, kept for the result that will be sent."""
        self._agent = agent
        self._model: FLModel | None = None
        self._task_name = ""
        self._due: Task | None = None
        self._received: Received | None = None
        self._last = ""

    # -- models ----------------------------------------------------------------------------------

    @property
    def held(self) -> FLModel | None:
        """The model that was received and has no result yet, or was not cleared; waits for none."""
        return self._model

    def receive(self, timeout: float | None = None) -> FLModel | None:
        """The model that is held, else the next one; None when ``timeout`` (seconds) has passed.

        AgentClosed once the job has ended.
        """
        if self._model is None:
            self._take(timeout)
        return self._model

    def is_running(self) -> bool:
        """Waits until a model is held: True; or until the agent is closed: False."""
        try:
            return self.receive() is not None
        except AgentClosed as error:
            if not isinstance(error, AgentEndException):
                logger.warning("no more models reason=%r", str(error))
            return False

    def send(self, model: FLModel, clear_cache: bool = True, *, check: Check | None = None) -> bool:
        """Sends the result for the model that is held; whether the client job accepted it.

        Where the task wants a difference and the model is whole, the difference is what is sent.
        ``check`` raises what is to be said of a result that is no FLModel.
        """
        submit = partial(self._submit, model, check or _require_model, spare=not clear_cache)
        # Whatever is wrong is found where it is sent: the other ranks wait for what comes of it.
        accepted = self._same(submit)
        self._last = f"{self._due} was sent" + ("" if accepted else ", and was not accepted")
        self._due = None
        if clear_cache:
            if self._model is not None:
                self._model.params = self._model.optimizer_params = None
            if accepted and isinstance(model, FLModel):
                model.params = model.optimizer_params = None
            self.clear()
        return accepted

    def keep_evaluation(self, metrics: Callable[[], dict[str, Any]]) -> None:
        """Keeps what ``metrics`` returns as ``evaluation``; what it raises is raised here.

        Of many processes rank 0's count: what is wrong with them is the same error in all.
        """

        def keep() -> bool:
            self.evaluation = metrics()
            return True

        self._same(keep)

    def clear(self) -> None:
        """Lets go of the model that is held. A result that is due for it can still be sent."""
        self._model = self._received = self.evaluation = None
        self._task_name = ""

    # -- tasks -----------------------------------------------------------------------------------

    def get_task_name(self) -> str:
        """The name of the task whose model is held; waits for one where none is."""
        self.receive()
        return self._task_name

    def is_train(self) -> bool:
        return self._task_name == TRAIN_TASK

    def is_evaluate(self) -> bool:
        return self._task_name in EVALUATE_TASKS

    def is_submit_model(self) -> bool:
        return self._task_name == SUBMIT_MODEL_TASK

    # -- the rest --------------------------------------------------------------------------------

    def system_info(self) -> dict[str, str]:
        """``site_name`` and ``job_id``."""
        return {"site_name": self._agent.site_name, "job_id": self._agent.job_id}

    def get_config(self) -> dict[str, Any]:
        """What the API goes by: ``system_info`` and the names of the tasks."""
        return {
            **self.system_info(),
            "TASK_EXCHANGE": {
                "train_task_name": TRAIN_TASK,
                "eval_task_name": EVALUATE_TASKS[0],
                "submit_model_task_name": SUBMIT_MODEL_TASK,
            },
        }

    @property
    def agent(self) -> Talker:
        """Who talks to the client job."""
        return self._agent

    def log(self, key: str, value: Any, data_type: AnalyticsDataType, **kwargs: Any) -> bool:
        """Logs a value, as ``FlareAgent.log``; whether it was taken."""
        return self._agent.log(create_analytic_dxo(key, value, data_type, **kwargs))

    def shutdown(self) -> None:
        """Stops the agent; twice is fine."""
        self.closed = True
        self._agent.stop()

    # -- inside ----------------------------------------------------------------------------------

    def _take(self, timeout: float | None) -> None:
        if self._due is not None:
            raise ApiCallError(
                f"the model of task {self._due} was cleared before its result was sent: send one "
                "first, each task takes exactly one"
            )
        task = self._agent.get_task(timeout)
        if task is None:
            return
        self._model, self._task_name, self._due = task.data, task.task_name, task
        wants_difference = task.headers.get(HeaderKey.TRANSFER_TYPE) == ParamsType.DIFF
        if wants_difference and task.data.params_type == ParamsType.FULL:
            self._received = Received(task.data.params)

    def _same(self, act: Callable[[], bool]) -> bool:
        """Of many processes rank 0 acts alone, and what it returns or raises all do."""
        return self._agent.same(act) if isinstance(self._agent, Together) else act()

    def _submit(self, model: FLModel, check: Check, *, spare: bool) -> bool:
        """Sends what the task wants of the model; errors as those of ``send``."""
        check(model)
        task = self._due
        if task is None:
            raise ApiCallError(self._why_nothing_is_due())
        if model.params is None and model.metrics is None:
            raise ApiCallError(
                f"the model sent for task {task} has neither params nor metrics; give "
                "FLModel(params=...), or FLModel(metrics=...) for an evaluation"
            )
        answer = self._as_wanted(model, task, spare=spare)
        try:
            return self._agent.submit_result(answer)
        except Exception:
            # Nothing was sent, and the script may put right what was wrong.
            if self._received is not None and answer is not model:
                self._received.keep(model.params)
            raise

    def _as_wanted(self, model: FLModel, task: Task, *, spare: bool) -> FLModel:
        """The model, or its difference from the one received; ``spare`` that one."""
        wanted = task.headers.get(HeaderKey.TRANSFER_TYPE)
        whole = model.params is not None and model.params_type != ParamsType.DIFF
        if wanted != ParamsType.DIFF or not whole:
            return model
        if self._received is None:
            raise DifferenceError(
                f"task {task} wants the difference from the model received, which was cleared "
                "before; do not call clear() before send(), or send FLModel(params_type=DIFF)"
            )
        return FLModel(
            ParamsType.DIFF,
            self._received.difference(model.params, spare=spare),
            model.optimizer_params,
            model.metrics,
            model.start_round,
            model.current_round,
            model.total_rounds,
            model.meta,
        )

    def _why_nothing_is_due(self) -> str:
        if not self._last:
            return "send before receive: a result answers a model, so call receive() first"
        again = "clear() and receive()" if self._model is not None else "receive()"
        return (
            f"the result of task {self._last}, and a task takes only one: call {again} for the "
            "next model before the next send()"
        )


def _require_model(sent: object) -> None:
    if not isinstance(sent, FLModel):
        raise TypeError(
            f"send needs an FLModel, got {type(sent).__name__}: "
            "send(FLModel(params=..., metrics=...))"
        )
