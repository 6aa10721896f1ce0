"""What it costs to write and read one message, and what other JSON libraries would save.

    python -m benchmarks.wire_codec                  # ours, and the bare libraries that are installed
    python -m benchmarks.wire_codec --peers          # and Pipecat's serializer, in its environment
    python -m benchmarks.wire_codec --json wire.json

The bare libraries (json, orjson, msgspec) write and read the finished dict of a message: what any
serializer on top of them would at least take. `trioworkers` and `pipecat` are the serializers, from
message to bytes and back. Each round asks all of them in turn; the table gives medians, in
microseconds. `same bytes` says whether a library writes what Pipecat writes, for a message with a
float of 1e16 and a letter that is not ASCII; `same values` whether it reads an integer of 80 bits.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROUNDS = 7
ID = "610ee5db-ee77-42b6-b670-f54f2a853ae9"
FIELDS = {"source": "acme", "target": "assistant", "job_id": ID, "job_name": "count"}
ROWS = [{"id": i, "name": f"row {i}", "score": i * 1.5, "tags": ["a", "b"]} for i in range(1100)]

# name -> (payload, how often in one timing)
CASES: dict[str, tuple[dict[str, Any], int]] = {
    "small": ({"n": 4}, 5_000),
    "1 KiB": ({"rows": ROWS[:17]}, 1_000),
    "64 KiB of dicts": ({"rows": ROWS}, 20),
    "64 KiB of text": ({"text": "x" * 65_300}, 200),
}

Pair = tuple[Callable[[Any], bytes], Callable[[bytes], Any]]


def plain(payload: dict[str, Any]) -> dict[str, Any]:
    """Return what stands in the JSON of a request."""
    data = {"id": 18, "name": "BusJobRequestMessage#3", **FIELDS, "payload": payload}
    return {"__type__": "pipecat.bus.messages.BusJobRequestMessage", "__data__": data}


def libraries() -> dict[str, Pair]:
    """Find the bare libraries."""
    write = json.JSONEncoder(separators=(",", ":")).encode
    read = json.JSONDecoder().decode
    found: dict[str, Pair] = {
        "json": (lambda value: write(value).encode(), lambda data: read(data.decode()))
    }
    for name, module, dumps, loads in (
        ("orjson", "orjson", "dumps", "loads"),
        ("msgspec", "msgspec.json", "encode", "decode"),
    ):
        try:
            library = importlib.import_module(module)
        except ImportError:
            continue
        found[name] = (getattr(library, dumps), getattr(library, loads))
    return found


def serializer(package: str) -> tuple[Pair, Callable[..., Any]]:
    """Make the serializer of a package, and return how it makes a request."""
    if package == "pipecat":
        importlib.import_module("loguru").logger.remove()
        made = importlib.import_module("pipecat.bus.serializers").JSONMessageSerializer()
        messages = importlib.import_module("pipecat.bus.messages")
    else:
        made = importlib.import_module("trioworkers.wire").JSONMessageSerializer()
        messages = importlib.import_module("trioworkers.messages")
    return (made.serialize, made.deserialize), messages.BusJobRequestMessage


def timed(pair: Pair, value: Any, times: int) -> tuple[float, float]:
    """Return the microseconds that one write and one read of `value` take."""
    write, read = pair
    data = write(value)
    read(data)
    return (
        timeit.timeit(lambda: write(value), number=times) / times * 1e6,
        timeit.timeit(lambda: read(data), number=times) / times * 1e6,
    )


def side(package: str) -> dict[str, tuple[float, float]]:
    """Time one package's serializer in this process."""
    pair, request = serializer(package)
    return {
        case: timed(pair, request(**FIELDS, payload=payload), times)
        for case, (payload, times) in CASES.items()
    }


def bare(pair: Pair) -> dict[str, tuple[float, float]]:
    """Time one library in this process."""
    return {case: timed(pair, plain(payload), times) for case, (payload, times) in CASES.items()}


def peer_side(python: Path) -> dict[str, tuple[float, float]]:
    """Time Pipecat's serializer in its own environment."""
    done = subprocess.run(
        [python, "-P", __file__, "--side", "pipecat"], capture_output=True, text=True, check=True
    )
    return {case: (write, read) for case, (write, read) in json.loads(done.stdout).items()}


def same(name: str, pair: Pair) -> dict[str, bool]:
    """Tell whether a library can stand in for the standard one."""
    write, read = pair
    odd = plain({"real": 1e16, "letter": "ü"})
    return {
        "same bytes": name == "json" or write(odd) == libraries()["json"][0](odd),
        "same values": read(b"1208925819614629174706177") == 2**80 + 1,
    }


def measure(peer: Path | None) -> dict[str, Any]:
    """Ask every side in turn, several times."""
    sides: dict[str, Callable[[], dict[str, tuple[float, float]]]] = {
        name: (lambda pair=pair: bare(pair)) for name, pair in libraries().items()
    }
    sides["trioworkers"] = lambda: side("trioworkers")
    if peer is not None:
        sides["pipecat"] = lambda: peer_side(peer)
    rounds = [{name: ask() for name, ask in sides.items()} for _ in range(ROUNDS)]
    figures = {
        name: {
            case: [statistics.median(each[name][case][way] for each in rounds) for way in (0, 1)]
            for case in CASES
        }
        for name in sides
    }
    faithful = {name: same(name, pair) for name, pair in libraries().items()}
    return {"python": sys.version.split()[0], "us": figures, "faithful": faithful}


def table(record: dict[str, Any]) -> str:
    """Return the figures as a table."""
    lines = [f"{'write + read, us':>16}" + "".join(f"{case:>22}" for case in CASES)]
    for name, cases in record["us"].items():
        cells = (f"{cases[case][0]:.1f} + {cases[case][1]:.1f}" for case in CASES)
        lines.append(f"{name:>16}" + "".join(f"{cell:>22}" for cell in cells))
    lines += [f"{name}: {each}" for name, each in record["faithful"].items()]
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write the figures where that is wanted."""
    parser = argparse.ArgumentParser(description="what one message costs, written and read")
    parser.add_argument("--peers", action="store_true", help="measure Pipecat's serializer too")
    parser.add_argument("--yes", action="store_true", help="install a missing peer unasked")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(side(arguments.side)))
        return
    peer = None
    if arguments.peers:
        from .peers.environments import PIPECAT

        PIPECAT.ensure(yes=arguments.yes)
        peer = PIPECAT.python
    record = measure(peer)
    print(table(record))
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
