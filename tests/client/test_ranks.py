"""Which process this is, as launchers say it."""

from __future__ import annotations

import pytest

from federant.client.ranks import process_count, process_rank


@pytest.mark.parametrize(
    ("environment", "rank", "count"),
    [
        ({}, 0, 1),
        ({"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4"}, 3, 4),  # torchrun, accelerate
        ({"LOCAL_RANK": "1", "NODE_RANK": "0", "WORLD_SIZE": "2"}, 1, 2),  # Lightning's children
        ({"LOCAL_RANK": "0", "NODE_RANK": "2", "WORLD_SIZE": "6"}, 2, 6),
        ({"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8"}, 5, 8),  # srun
        ({"SLURM_PROCID": "0", "RANK": "1", "WORLD_SIZE": "2"}, 1, 2),  # srun torchrun
        ({"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "1"}, 0, 1),
        ({"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "4"}, 2, 4),  # mpirun
        ({"RANK": "", "WORLD_SIZE": "many"}, 0, 1),
    ],
)
def test_the_launcher_says_which_process_this_is(
    environment: dict[str, str], rank: int, count: int
):
    assert process_rank(environment) == rank
    assert process_count(environment) == count
