"""Runs a module of this package where trioworkers is not installed, and must not be found.

    python -P alone.py peers.pipecat_side send '{"count": 1000, "others": 0}'

A peer's side runs in the peer's own environment.  This package may lie within trioworkers there, as
it does in a wheel, or beside it, as in a checkout; so neither folder is put on Python's path.  The
package gets a name by itself instead, and relative imports within it work as everywhere.  `-P`
keeps this file's folder off the path as well.
"""

from __future__ import annotations

import importlib.util
import runpy
import sys
from pathlib import Path

NAME = "benchmarks"
FOLDER = Path(__file__).resolve().parent


def main() -> None:
    """Run the module that the first argument names, with the others."""
    module = sys.argv.pop(1)
    where = [str(FOLDER)]
    spec = importlib.util.spec_from_file_location(
        NAME, FOLDER / "__init__.py", submodule_search_locations=where
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = package
    spec.loader.exec_module(package)
    runpy.run_module(f"{NAME}.{module}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
