"""`penstock` with a replay that kills its own process at a step: `replay_child.py STEP COUNT ARGUMENT…`.

STEP is `publish` or `mark`; the process is gone, as after kill -9, right after that step was done for the COUNTth time.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from penstock.cli import main
from penstock.replay import job


def arm(step: str, count: int) -> None:
    inner = getattr(job._Pen, step)
    left = [count]

    async def deadly(*arguments: Any) -> Any:
        done = await inner(*arguments)
        # Marking what an earlier job left is a step of its own, and one with nothing in it is none.
        left[0] -= bool(arguments[1])
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    setattr(job._Pen, step, deadly)


if __name__ == "__main__":
    arm(sys.argv[1], int(sys.argv[2]))
    sys.argv = ["penstock", *sys.argv[3:]]
    main.main()
