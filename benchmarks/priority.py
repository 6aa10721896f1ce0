"""How long a system message waits while data floods a worker, and how the data fares meanwhile.

    trioworkers bench priority                             # ours and plain trio
    trioworkers bench priority --peers                     # and Pykka and Pipecat
    trioworkers bench priority --backlog 0 --handler sleeping --cost 0.001
    trioworkers bench priority --scenario my_module:scenario
    python -m benchmarks.priority --peers --json priority.json --plot priority.svg
    python -m benchmarks.priority --show priority.json

How it is measured:

- *load*: a worker's lane holds a backlog, producers send data to it for ever, and system messages
  come at a steady rate, or in bursts.  The knobs are about this part; the others are the same
  whatever the knobs say, so that runs can be compared.  A scenario of the user's takes its place.
- *flood*: eight producers and no backlog, beside the same loop with no flood.
- *crowd*: busy workers beside the one that is measured, each of which handles a full turn of
  messages (64) in every pass of the scheduler.  How many passes a system message takes part in,
  from its send to its handler, is counted and does not depend on the machine.
- *backlog*: data is queued in one step, and a system message is due 0.2 ms later, while it is being
  handled: a backlog that nobody works on yet holds nothing up.  The handlers do nothing.
- *cancel*: when each handler runs round a cancel of the worker, as a picture.
- *meter*: what taking the latency costs by itself.

`trioworkers bench` has few rounds by default, and no meter, so that it takes less than a minute; this
module, and `--full`, have all in five rounds.

A latency runs from when a message is *due* to its handler's first line: see `latency.py`.  *From
send* leaves out what the sender was late.  Each side is written as its own documentation tells its
users to: `priority_ours.py`, `priority_bare.py` (plain trio, three ways), `peers/pykka_priority.py`,
`peers/pipecat_priority.py`.  Each process is fresh, the sides take turns, forth and back, and ratios
are made within a round.  What was not handled within the patience counts with the time that it had
waited, and a figure or ratio made of it has a `>`: it is a bound.  Latencies are kept in histograms of three digits; those of all rounds are added up.

This module exits with 1 if a claim does not hold.  Not part of the test suite: a test must not depend on time.
"""

from __future__ import annotations

import sys

import attrs

from trioworkers.bench import PrioritySettings

from .command import run_subject
from .peers.environments import PIPECAT, PYKKA
from .priority_parts import MODULES, TITLES, claims, curves, fixed_groups, load_group
from .priority_plots import draw_all
from .priority_scenario import parts_of
from .priority_table import complete, shown
from .subjects import Subject

ROUNDS = 5
"""Of figures that are kept."""


def subject(settings: PrioritySettings | None = None, scenario: str | None = None) -> Subject:
    """Return everything that is measured.

    Args:
        settings: the knobs of the load.
        scenario: `module:scenario`, to take the place of the load and of all else.

    Raises:
        Refusal: `scenario` is no `module:scenario`.  What else is wrong with it, the first process
            tells: its module is the user's, and nothing of it runs here.
    """
    wanted = settings or PrioritySettings()
    parts = [load_group(wanted, scenario)]
    if scenario is None:
        parts += fixed_groups()
    else:
        parts_of(scenario)
    return Subject(
        "priority",
        groups=[attrs.evolve(each, rounds=ROUNDS) for each in parts],
        shorter=[each for each in parts if each.name != "meter"],
        claims=tuple(claims()),
        plots=curves(),
        modules=MODULES,
        titles=TITLES,
        peers={"pykka": PYKKA, "pipecat": PIPECAT},
        complete=complete,
        facts={"settings": attrs.asdict(wanted), "scenario": scenario},
        show=shown,
        draw=draw_all,
        alone="" if scenario is None else "a scenario is measured on trioworkers alone",
    )


SUBJECT = subject()

if __name__ == "__main__":
    sys.exit(run_subject(SUBJECT, __doc__))
