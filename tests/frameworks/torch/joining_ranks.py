"""One of two processes of a group of which rank 0 cannot join.

    python joining_ranks.py RANK STORE

prints the error.
"""

import sys

import torch.distributed as dist

from federant.client import JoinError
from federant.client.torch import distributed


def main(rank: int, store: str) -> str:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    try:
        distributed.init()
    except JoinError as error:
        return str(error)
    finally:
        dist.destroy_process_group()
    return "joined"


if __name__ == "__main__":
    print(main(int(sys.argv[1]), sys.argv[2]))  # noqa: T201 - the test reads it
