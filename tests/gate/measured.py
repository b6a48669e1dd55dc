"""Judge files and say what it took: `python -m tests.gate.measured FILE...`, one process a file."""

import json
import os
import sys

from server.errors import BadModel
from server.inference import gate_child


def main(paths: list[str]) -> None:
    """Judge every file in a fork of this process; print a line of JSON for each."""
    for path in paths:
        reading, writing = os.pipe()
        if not (child := os.fork()):
            os.write(writing, json.dumps(_reason(path)).encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as answer:
            told = answer.read()
        _, status, usage = os.wait4(child, 0)
        found = {
            "reason": json.loads(told) if told else None,
            "status": status,
            "cpu_s": usage.ru_utime + usage.ru_stime,
            "rss_mib": usage.ru_maxrss / 1024,
        }
        print(json.dumps(found), flush=True)


def _reason(path: str) -> object:
    try:
        gate_child.start({"path": path})
    except BadModel as refused:
        return refused.members["reason"]
    return None


if __name__ == "__main__":
    main(sys.argv[1:])
