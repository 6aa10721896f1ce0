"""Put what the benchmarks have measured into docs/benchmarks.md, and draw its pictures.

    python -m benchmarks.report

The files in `benchmarks/results` are what the commands wrote with `--json`.  Behind each
`<!-- name -->` on the page stands what `--show` prints of `name.json`, and behind `<!-- plots: name -->`
the pictures of what it holds, which lie in `docs/plots`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import catalogue, core, plots
from .subjects import Curve, Dots, Subject

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
PICTURES = ROOT / "docs" / "plots"
RESULTS = ROOT / "benchmarks" / "results"

DRAWN: dict[str, Subject] = {"core": core.SUBJECT, "proxy": catalogue.PROXY}
"""The results that there are pictures of."""

_TABLE = re.compile(r"<!-- (\w+) -->\n+```text\n.*?```", re.DOTALL)
_PICTURES = re.compile(r"<!-- plots: (\w+) -->\n.*?<!-- end of plots -->", re.DOTALL)


def shown(name: str) -> str:
    """Return what a benchmark prints of its results."""
    module, path = f"{__package__}.{name}", str(RESULTS / f"{name}.json")
    command = [sys.executable, "-m", module, "--show", path]
    # It exits with 1 where a claim does not hold; that is in the table.
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if not done.stdout:
        raise SystemExit(f"{' '.join(command)} printed nothing:\n{done.stderr}")
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())


def measured(name: str) -> dict[str, Any]:
    """Return the results of that name."""
    record: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return record


def pictured(name: str) -> Iterator[tuple[Curve | Dots, Path]]:
    """Yield the plots of what was measured, and their files."""
    samples = measured(name)["samples"]
    for plot in DRAWN[name].plots:
        if plots.is_measured(plot, samples):
            yield plot, PICTURES / f"{plot.name}.svg"


def linked(name: str) -> str:
    """Return the text that shows all pictures of one file of results."""
    links = [f"![{plot.title}](plots/{path.name})\n" for plot, path in pictured(name)]
    return "\n".join([f"<!-- plots: {name} -->", "", *links, "<!-- end of plots -->"])


def filled(page: str) -> str:
    """Return the page with all tables and pictures as the results say."""
    page = _TABLE.sub(lambda found: f"<!-- {found[1]} -->\n\n```text\n{shown(found[1])}\n```", page)
    return _PICTURES.sub(lambda found: linked(found[1]), page)


def draw() -> None:
    """Draw the pictures whose figures are not those that they were drawn of."""
    PICTURES.mkdir(exist_ok=True)
    for name, subject in DRAWN.items():
        for plot, path in pictured(name):
            if not is_current(plot, measured(name), path):
                plots.draw(plot, subject, measured(name), path)


def is_current(plot: Curve | Dots, record: dict[str, Any], path: Path) -> bool:
    """Tell whether a picture shows these figures."""
    return path.exists() and plots.digest(plot, record) in path.read_text(encoding="utf-8")


if __name__ == "__main__":
    draw()
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
