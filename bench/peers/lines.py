"""A peer's side of the benchmark: tells its versions, then answers one task a line until its input ends."""

import json
import os
import sys
import time
import traceback


def answer_lines(versions, tasks):
    """`tasks` by name; their options come and their results go as JSON, a line each."""
    # Libraries may print: only answers go to the real standard output.
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def reply(answer):
        out.write(json.dumps(answer) + "\n")

    reply({"ok": {"python": sys.version.split()[0], **versions}})
    for line in sys.stdin:
        try:
            options = json.loads(line)
            reply({"ok": tasks[options.pop("task")](**options)})
        except Exception:
            reply({"error": traceback.format_exc()})


def images_per_second(seconds, work):
    """Calls `work`, which returns how many images it did, for at least `seconds`."""
    start = time.perf_counter()
    images = 0
    while True:
        images += work()
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return images / elapsed
