"""What the measurements of disturbed transfers share: hosts, the disturbance, and the counting."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

from federant.testing.network import Network
from report_rig import Row

MB = 1_000_000
HEADERS = 0.06
"""More than TLS, TCP, IP and Ethernet add to 1448 bytes, and the sender's acknowledgements."""
_LOOK_SECONDS = 0.05


def disturb(
    network: Network,
    host: str,
    size: int,
    sender: subprocess.Popen[str],
    disturbance: Callable[[], None],
) -> Row:
    """Disturb what the host sends once half of `size` bytes have gone; wait for the sender's end.

    Gives what was sent on the host's line: ``sent_again_at_most`` is what went beyond the size and
    everything that is known to be added.
    """
    began = time.monotonic()
    while network.sent(host) < size // 2 and sender.poll() is None:
        time.sleep(_LOOK_SECONDS)
    at = network.sent(host)
    disturbance()
    if sender.wait() != 0:
        raise SystemExit(f"the sender ended with status {sender.returncode}")
    seconds = time.monotonic() - began
    sent = network.sent(host)
    return {
        "disturbed_at": at,
        "sent": sent,
        "sent_again_at_most": max(0, round(sent - size * (1 + HEADERS))),
        "beyond_the_size": round(sent / size - 1, 4),
        "seconds": round(seconds, 1),
    }


def cut(network: Network, host: str, seconds: float) -> None:
    """Nothing passes for so long, and nobody is told."""
    network.cut(host)
    time.sleep(seconds)
    network.mend(host)
