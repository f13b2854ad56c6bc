"""A `kubectl` for tests where no kubelet is: what asks a pod is answered from a file, and everything else is the real one's.

Run as a program. STUB names the file, JSON: `kubectl` the real one, `forward` by port the port that answers for every pod, `log`
what every pod has said, `calls` the file to which each call is added.
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import sys


def main() -> None:
    told = json.loads(pathlib.Path(os.environ["STUB"]).read_text())
    with pathlib.Path(told["calls"]).open("a") as calls:
        calls.write(json.dumps(sys.argv[1:]) + "\n")
    verb = next(one for one in sys.argv[1:] if not one.startswith("-"))
    if verb == "port-forward":
        wanted = sys.argv[-1].lstrip(":")
        sys.stdout.write(f"Forwarding from 127.0.0.1:{told['forward'][wanted]} -> {wanted}\n")
        sys.stdout.flush()
        signal.pause()
    elif verb == "logs":
        sys.stdout.write(told["log"] + "\n")
    elif verb == "exec":
        sys.stdout.write("said in the pod\n")
        sys.exit(told.get("code", 0))
    else:
        os.execv(told["kubectl"], [told["kubectl"], *sys.argv[1:]])


if __name__ == "__main__":
    main()
