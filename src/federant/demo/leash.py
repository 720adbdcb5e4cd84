"""Runs a module that gets SIGTERM when its owner dies, however the owner dies.

Run as a script, not imported: `leash.py FD MODULE ARGUMENT...`, where FD is the reading end of a
pipe that nobody writes to, and whose other end the owner alone holds. It needs nothing but the
standard library, and the module runs in this very process.
"""

import os
import runpy
import signal
import sys
import threading


def main() -> None:
    leash, module = int(sys.argv[1]), sys.argv[2]
    del sys.argv[1:3]
    threading.Thread(target=_watch, args=(leash,), name="leash", daemon=True).start()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _watch(leash: int) -> None:
    """Blocks until the other end is closed: by its owner, or by the kernel when that is dead."""
    while os.read(leash, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
