"""A trainer for tests: w becomes w / 2 + step; files in its box tell of it, and hold it up.

    python trainer.py BOX STEP SIZE [RELAY KIT]

SIZE numbers has w. With RELAY it dials that, as agent gpu-7 of site-1. While its box holds a file
``hold-N``, it does not go on with round N.
"""

import sys
import time
from pathlib import Path

import numpy as np

import federant
from federant import DXO, DataKind, MetaKey
from federant.client import FlareAgent, FlareAgentWithCellPipe

box, step, size = Path(sys.argv[1]), np.float32(sys.argv[2]), int(sys.argv[3])


def joined() -> FlareAgent:
    if len(sys.argv) == 4:
        return federant.join()
    relay, kit = sys.argv[4:]
    return FlareAgentWithCellPipe(
        agent_id="gpu-7",
        site_name="site-1",
        root_url=relay,
        secure_mode=True,
        workspace_dir=kit,
        heartbeat_timeout=120.0,
    )


with joined() as agent:
    for task in agent.tasks():
        number = task.data.get_meta_prop(MetaKey.CURRENT_ROUND)
        (box / f"round-{number}").touch()
        while (box / f"hold-{number}").exists():
            time.sleep(0.02)
        weights = task.data.data.get("w", np.zeros(size, np.float32))
        accepted = agent.submit_result(DXO(DataKind.WEIGHTS, {"w": weights / 2 + step}))
        with (box / "accepted").open("a") as file:
            file.write(f"{number} {accepted}\n")
