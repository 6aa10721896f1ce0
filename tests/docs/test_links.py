"""Links and names on the pages lead somewhere."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.docs.pages import DOCS, PAGES, ROOT, prose
from tests.source import MODULES
from trioworkers import Job, JobGroup, LocalBus, PendingJob, Registry, Worker, WorkerRunner
from trioworkers.proxies._native import SUBPROTOCOL

# A checkout has these, the folder in which a wheel is tested does not.
NOT_BESIDE_A_WHEEL = {"LICENSE-MIT", "LICENSE-APACHE", "SECURITY.md"}

_LINK = re.compile(r"\[[^][]+\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
_CODE = re.compile(r"`([^`\n]+)`")

# What a page means by these words in code, except where Pipecat's are meant.
OBJECTS = {
    "worker": lambda: Worker("sample"),
    "self": lambda: Worker("sample"),
    "runner": lambda: WorkerRunner("sample"),
    "bus": LocalBus,
    "registry": lambda: Registry,
    "job": lambda: Job,
    "pending": lambda: PendingJob,
    "group": lambda: JobGroup,
}


def links(page: Path) -> Iterator[str]:
    """Find the links of a page that do not lead out of the project."""
    for target in _LINK.findall(prose(page)):
        if not target.startswith(("https://", "http://")):
            yield target


def anchors(page: Path) -> set[str]:
    """Make the anchors of a page's headings, as GitHub does."""
    titles = _HEADING.findall(prose(page))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def exists(path: Path) -> bool:
    """Tell whether a link leads somewhere."""
    return path.exists() or (
        path.name in NOT_BESIDE_A_WHEEL and not (ROOT / "trioworkers").exists()
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page leads to a file, and to a heading in it if it names one."""
    broken = []
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not exists(target) or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def test_every_page_is_listed() -> None:
    """docs/index.md leads to every page, and the README to every page but the index."""
    pages = {page.name for page in DOCS.glob("*.md")} - {"index.md"}
    assert {link.partition("#")[0] for link in links(DOCS / "index.md")} >= pages
    readme = {Path(link.partition("#")[0]).name for link in links(ROOT / "README.md")}
    assert readme >= pages


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_of_the_package_exist(page: Path) -> None:
    """Every `trioworkers.name` in code exists."""
    names = [
        name
        for code in _CODE.findall(prose(page))
        for name in re.findall(r"\btrioworkers((?:\.\w+)+)", code.replace(SUBPROTOCOL, ""))
    ]
    assert not [name for name in names if not resolves(name.lstrip(".").split("."))]


def resolves(parts: list[str]) -> bool:
    """Tell whether a dotted name leads from the package to something."""
    found: object = importlib.import_module("trioworkers")
    for count, part in enumerate(parts, 1):
        if not hasattr(found, part):
            module = ".".join(parts[:count])
            if module not in MODULES:
                return False
            importlib.import_module(f"trioworkers.{module}")
        found = getattr(found, part)
    return True


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.name != "migrate-from-pipecat.md"],
    ids=lambda page: page.name,
)
def test_attributes_exist(page: Path) -> None:
    """What a page says of `worker.x`, `runner.x`, `bus.x` and so on, these have."""
    missing = []
    for code in _CODE.findall(prose(page)):
        for owner, attribute in re.findall(r"(?<![\w.])(\w+)\.([a-z_]+)\b", code):
            if owner in OBJECTS and not has(owner, attribute):
                missing.append(f"{owner}.{attribute}")
    assert not missing


def has(owner: str, attribute: str) -> bool:
    """Tell whether the object that a page calls `owner` has an attribute."""
    found: object = OBJECTS[owner]()
    return hasattr(
        found if isinstance(found, type) else type(found), attribute
    ) or attribute in vars(found)


def test_every_module_is_described() -> None:
    """Each module of the core, of links and of what is on a wire has a line on the design page."""
    design = prose(DOCS / "design.md")
    modules = [
        name.replace(".", "/")
        for name, each in MODULES.items()
        if not each.is_package and name.split(".")[0] not in {"_cli", "testing", "_version"}
    ]
    assert not [name for name in modules if f"`{name}.py`" not in design]


def test_no_path_of_a_machine() -> None:
    """No page names an absolute path of somebody's machine."""
    found = [
        page.name
        for page in PAGES
        if re.search(r"(?<![\w.`])/(home|work|tmp|root|Users)/", page.read_text())
    ]
    assert not found


def test_trio_names_exist() -> None:
    """Every `trio.Name` in code exists."""
    missing = set()
    for page in PAGES:
        for code in _CODE.findall(prose(page)):
            for name in re.findall(r"(?<![\w.])trio\.([A-Z]\w+|[a-z_]+)\b", code):
                if not hasattr(trio, name) and name != "testing":
                    missing.add(f"{page.name}: trio.{name}")
    assert not missing
