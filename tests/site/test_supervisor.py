"""Which trainer a new client job goes on with."""

from pathlib import Path

import psutil
import pytest

from federant.site.config import TrainerConfig
from federant.site.journal import Journal
from federant.site.supervisor import TrainerSupervisor


@pytest.fixture
def supervise(tmp_path: Path):
    """supervise() gives a supervisor of the job in the folder, and the tokens that it tells."""
    journal = Journal(tmp_path / "journal.db")
    config = TrainerConfig(command=("{python}", "-c", "import time; time.sleep(600)"))
    resolved = config.resolve(folder=tmp_path, site="site-1", job="job-1")
    made: list[TrainerSupervisor] = []

    def make() -> tuple[TrainerSupervisor, list[str], list[str]]:
        tokens: list[str] = []
        statuses: list[str] = []
        supervisor = TrainerSupervisor(
            *(resolved, tmp_path, {}, journal),
            on_token=tokens.append,
            on_exit=lambda: None,
            on_status=lambda state, _: statuses.append(state),
        )
        made.append(supervisor)
        return supervisor, tokens, statuses

    yield make
    for supervisor in made:
        supervisor.close(0)
    journal.close()


def test_a_surviving_trainer_s_token_is_known_before_the_work_begins(supervise):
    first, told_first, _ = supervise()
    first.recall()
    first.begin()
    second, told_second, statuses = supervise()
    second.recall()
    assert told_second == told_first
    assert statuses == []
    second.begin()
    assert told_second == told_first
    assert statuses == ["adopted"]


def test_a_trainer_that_ended_without_a_client_job_is_not_held_to_blame(supervise, tmp_path):
    first, _, _ = supervise()
    first.recall()
    first.begin()
    first.close(0)
    (launch,) = (tmp_path / "launches").iterdir()
    (launch / "asked").unlink()
    second, tokens, statuses = supervise()
    second.recall()
    second.begin()
    second.ensure()
    assert statuses == ["lost", "started"]
    assert len(set(tokens)) == 2
    assert len(list((tmp_path / "launches").iterdir())) == 1


def test_a_trainer_that_ended_as_its_client_job_went_is_not_held_to_blame(supervise, until):
    first, _, told = supervise()
    first.recall()
    first.begin()
    first.leave()
    keeper = psutil.Process(first.keeper_pid)
    until("the trainer", keeper.children)
    for process in keeper.children():
        process.kill()
    assert first.wait(60)
    second, _, statuses = supervise()
    second.recall()
    second.begin()
    second.ensure()
    assert told == ["started"]
    assert statuses == ["lost", "started"]


def test_without_an_earlier_trainer_there_is_no_token_to_recall(supervise):
    supervisor, tokens, statuses = supervise()
    supervisor.recall()
    assert tokens == []
    supervisor.begin()
    assert len(tokens) == 1
    assert statuses == ["started"]
