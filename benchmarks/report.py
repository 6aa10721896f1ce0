"""Put what the benchmarks have measured into docs/benchmarks.md, and draw its pictures.

    python -m benchmarks.report

The files in `benchmarks/results` are what the commands wrote with `--json`.  Behind each
`<!-- name -->` on the page stands what `--show` prints of `name.json`, and behind `<!-- plots: name -->`
the pictures of what it holds, which lie in `docs/plots`.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs

from . import core, plots, priority_plots, proxy
from .subjects import Subject

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
PICTURES = ROOT / "docs" / "plots"
RESULTS = ROOT / "benchmarks" / "results"

DRAWN: dict[str, Subject] = {"core": core.SUBJECT, "proxy": proxy.SUBJECT}
"""The results that there are pictures of, besides those of priority."""

NOT_YET = "not measured yet"
PRIORITY = {
    "latency": "Latency of both lanes under load",
    "timeline": "When handlers ran, round a cancel",
    "backlog": "Latency of a system message, by the data queued",
    "neighbours": "Latency of a system message, by busy neighbours",
    "depth": "How many data messages wait, over time",
}

_TABLE = re.compile(r"<!-- (\w+) -->\n+```text\n.*?```", re.DOTALL)
_PICTURES = re.compile(r"<!-- plots: (\w+) -->\n.*?<!-- end of plots -->", re.DOTALL)


@attrs.frozen
class Picture:
    """A picture on the page.

    Attributes:
        title: what it shows.
        path: its file.
        digest: says which figures it is to show, and stands in its file.
        draw: draws it anew, or all of its kind.
    """

    title: str
    path: Path
    digest: str
    draw: Callable[[], None]

    def is_current(self) -> bool:
        """Tell whether it shows what was measured last."""
        return self.path.exists() and self.digest in self.path.read_text(encoding="utf-8")


def shown(name: str) -> str:
    """Return what a benchmark prints of its results."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return NOT_YET
    command = [sys.executable, "-m", f"{__package__}.{name}", "--show", str(path)]
    # It exits with 1 where a claim does not hold; that is in the table.
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if not done.stdout:
        raise SystemExit(f"{' '.join(command)} printed nothing:\n{done.stderr}")
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())


def measured(name: str) -> dict[str, Any]:
    """Return the results of that name; no samples if there are none."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return {"samples": {}}
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def pictures(name: str) -> Iterator[Picture]:
    """Yield the pictures of what was measured."""
    record = measured(name)
    if name == "priority":
        yield from pictures_of_priority(record)
        return
    for plot in DRAWN[name].plots:
        if plots.is_measured(plot, record["samples"]):
            path = PICTURES / f"{plot.name}.svg"

            def draw(plot: Any = plot, path: Path = path) -> None:
                plots.draw(plot, DRAWN[name], record, path)

            yield Picture(plot.title, path, plots.digest(plot, record), draw)


def pictures_of_priority(record: dict[str, Any]) -> Iterator[Picture]:
    """Yield those that `priority.py` draws together."""
    first = PICTURES / "priority.svg"
    digest = hashlib.sha256(json.dumps(record).encode()).hexdigest()

    def draw() -> None:
        for path in priority_plots.draw_all(record, first):
            with path.open("a", encoding="utf-8") as file:
                file.write(f"<!-- {digest} -->\n")

    there = [name for name, has, _ in priority_plots.PICTURES if has(record["samples"])]
    for name in there:
        path = first if name == there[0] else first.with_stem(f"{first.stem}-{name}")
        yield Picture(PRIORITY[name], path, digest, draw)


def linked(name: str) -> str:
    """Return the text that shows all pictures of one file of results."""
    links = [f"![{each.title}](plots/{each.path.name})\n" for each in pictures(name)]
    return "\n".join([f"<!-- plots: {name} -->", "", *links, "<!-- end of plots -->"])


def filled(page: str) -> str:
    """Return the page with all tables and pictures as the results say."""
    page = _TABLE.sub(lambda found: f"<!-- {found[1]} -->\n\n```text\n{shown(found[1])}\n```", page)
    return _PICTURES.sub(lambda found: linked(found[1]), page)


def draw() -> None:
    """Draw the pictures whose figures are not those that they were drawn of."""
    PICTURES.mkdir(exist_ok=True)
    for name in (*DRAWN, "priority"):
        for each in pictures(name):
            if not each.is_current():
                each.draw()


if __name__ == "__main__":
    draw()
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
