"""Print constraints that pin what users install to the oldest releases that pyproject.toml allows."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = [each for name, each in project["optional-dependencies"].items() if name != "dev"]
for requirement in {*project["dependencies"], *(each for extra in extras for each in extra)}:
    if bounded := re.match(r"([\w.-]+)(?:\[.*\])?>=([\d.]+)", requirement):
        print("==".join(bounded.groups()))
# The oldest matplotlib calls it by names that later releases warn about; its users never see that.
print("pyparsing<3.3")
