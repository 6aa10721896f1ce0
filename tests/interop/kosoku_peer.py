"""Autobahn's cases by kosoku: against a server, or as a server against a client.

Runs in an environment that has kosoku 0.1.0.  Reads one JSON line, {"url": ..., "exclude": [...]}
to test a server, or {"exclude": [...]} to be one, which is answered with {"port": ...}; "cases" says
which, if not all.  Writes {"results": [[case, behavior, behavior_close], ...]} at the end.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any

from kosoku import FailureError, run_fuzzingclient, run_fuzzingserver

LIFE = 120
"""Seconds after which the process ends whatever happens."""


async def main(order: dict[str, Any]) -> None:
    """Run the cases and tell their results."""
    cases, exclude = order.get("cases"), order["exclude"]
    try:
        if "url" in order:
            results = await run_fuzzingclient(order["url"], cases, exclude, concurrency=2)
        else:
            async with run_fuzzingserver(cases, exclude, host="127.0.0.1", port=0) as server:
                print(json.dumps({"port": server.port}), flush=True)
                results = await server.get_result()
    except FailureError as failure:
        results = failure.results
    rows = [[each.case_id, each.behavior.value, each.behavior_close.value] for each in results]
    print(json.dumps({"results": rows}), flush=True)


if __name__ == "__main__":
    signal.alarm(LIFE)
    asyncio.run(main(json.loads(sys.stdin.readline())))
    # Its native threads now and then abort the process on its way out.
    os._exit(0)
