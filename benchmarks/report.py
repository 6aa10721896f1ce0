"""Put what the benchmarks have measured into docs/benchmarks.md.

    python -m benchmarks.report

The files in `benchmarks/results` are what the commands wrote with `--json`.  Behind each
`<!-- name -->` on the page stands what `--show` prints of `name.json`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
RESULTS = ROOT / "benchmarks" / "results"

_TABLE = re.compile(r"<!-- (\w+) -->\n+```text\n.*?```", re.DOTALL)


def shown(name: str) -> str:
    """Return what a benchmark prints of its results."""
    command = [
        sys.executable,
        "-m",
        f"{__package__}.{name}",
        "--show",
        str(RESULTS / f"{name}.json"),
    ]
    # It exits with 1 where a claim does not hold; that is in the table.
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if not done.stdout:
        raise SystemExit(f"{' '.join(command)} printed nothing:\n{done.stderr}")
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())


def filled(page: str) -> str:
    """Return the page with all tables as the results say."""
    return _TABLE.sub(lambda found: f"<!-- {found[1]} -->\n\n```text\n{shown(found[1])}\n```", page)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
