"""A trainer of two processes, started by torchrun, that does well or crashes in one of them.

torchrun --nproc-per-node 2 many_processes.py well|RANK|RANK-late
"""

import sys

import numpy as np
import torch
import torch.distributed as dist

import federant.client as flare
from federant.client.torch import distributed


def main(fate: str) -> None:
    dist.init_process_group("gloo")
    distributed.init()
    rank = dist.get_rank()
    try:
        while flare.is_running():
            model = flare.receive()
            total = torch.tensor(0.0 if not model.params else float(model.params["total"][0]))
            total += rank + 1
            if fate.startswith(str(rank)):
                raise ArithmeticError(f"no luck in rank {rank}")
            dist.all_reduce(total)
            assert flare.send(flare.FLModel(params={"total": np.array([total.item()])}))
    finally:
        if fate.endswith("late"):
            # The other loses its peer before this one has said what happened.
            dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
