"""All subjects by name: what `trioworkers bench` can measure."""

from __future__ import annotations

from . import (
    ask,
    broadcast,
    cancel,
    core,
    memory,
    micro,
    priority,
    proxy,
    saturated,
    sessions,
    spawn,
    throughput,
)

MODULES = (
    throughput, ask, spawn, memory, cancel, broadcast, proxy, saturated, micro, priority,
)  # fmt: skip

SUBJECTS = {module.SUBJECT.name: module.SUBJECT for module in MODULES}

KEPT = (*SUBJECTS.values(), core.SUBJECT, sessions.SUBJECT)
"""These, and those that are measured for files that are kept."""

QUESTIONS = {module.SUBJECT.name: (module.__doc__ or "").partition("\n")[0] for module in MODULES}
"""What each subject answers, in a sentence."""
