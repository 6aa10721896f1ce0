"""All subjects by name: what `trioworkers bench` can measure."""

from __future__ import annotations

from . import (
    ask,
    broadcast,
    cancel,
    core,
    memory,
    micro,
    overtaking,
    priority,
    proxy,
    saturated,
    sessions,
    spawn,
    throughput,
)

MODULES = (
    throughput, ask, overtaking, spawn, memory, cancel, broadcast, proxy, saturated, sessions, micro,
    priority,
)  # fmt: skip

SUBJECTS = {module.SUBJECT.name: module.SUBJECT for module in MODULES}

KEPT = (*SUBJECTS.values(), core.SUBJECT)
"""These, and the one that is made of several, for a file that is kept."""

QUESTIONS = {module.SUBJECT.name: (module.__doc__ or "").partition("\n")[0] for module in MODULES}
"""What each subject answers, in a sentence."""
