"""A trainer on another machine than its site: it dials the site's relay, with a kit of its own.

    python far_trainer.py https://site-1.example:8760 site-1 gpu-7 kits/site-1.gpu-7

It pulls the weights half of the way to the mean of its own numbers, which never leave this machine.
"""

import argparse

import numpy as np

from federant import DXO, DataKind
from federant.client import FlareAgentWithCellPipe


def main():
    parser = argparse.ArgumentParser(description="Train for a site on another machine.")
    parser.add_argument("relay", help="the address of the site's relay")
    parser.add_argument("site", help="the site's name")
    parser.add_argument("agent", help="agent_id of the trainer in the site's file")
    parser.add_argument("kit", help="the folder of this agent's startup kit")
    args = parser.parse_args()
    numbers = np.array([1.0, 2.0, 3.0], np.float32)

    agent = FlareAgentWithCellPipe(
        agent_id=args.agent,
        site_name=args.site,
        root_url=args.relay,
        secure_mode=True,
        workspace_dir=args.kit,
        heartbeat_timeout=120.0,  # a cut may last so long: calls that wait go on after it
    )
    with agent:
        for task in agent.tasks():
            # Without an initial model the first task brings none.
            weights = task.data.data.get("w", np.zeros(4, np.float32))
            weights = weights + (numbers.mean() - weights) / 2
            agent.submit_result(DXO(DataKind.WEIGHTS, {"w": weights}))


if __name__ == "__main__":
    main()
