"""Tools for testing what is built of workers.

Nothing here needs more than trio; `trioworkers.testing.plugin` is the part for pytest, turned on
by `pytest_plugins = ["trioworkers.testing.plugin"]` in the top `conftest.py`.
"""

from __future__ import annotations

from ._dead_letters import DeadLetterLog as DeadLetterLog
from ._idle import wait_idle as wait_idle
from ._leaks import no_leaks as no_leaks
from ._probe import Probe as Probe
from ._probe import ProbeJob as ProbeJob
from ._recorder import Recorded as Recorded
from ._recorder import RecordedKind as RecordedKind
from ._recorder import Recorder as Recorder
