"""All subjects by name: what `trioworkers bench` can measure."""

from __future__ import annotations

import attrs

from . import ask, broadcast, cancel, memory, micro, proxy, saturated, spawn, throughput
from .peers.environments import PIPECAT
from .subjects import Dots, Subject

PROXY = Subject(
    "proxy",
    # Fewer rounds than the module of its own has: a minute is enough to wait. `--rounds` asks for more.
    groups=[attrs.evolve(group, rounds=2) for group in proxy.GROUPS],
    claims=proxy.CLAIMS,
    plots=(
        Dots(
            "proxy",
            "How long a job takes over a WebSocket, question to answer",
            "round trip of a small job",
            rows=(
                ("bare trio-websocket", "ask small bare"),
                ("trioworkers", "ask small ours"),
                ("Pipecat, not compressed", "ask small plain"),
                ("Pipecat", "ask small pipecat"),
            ),
        ),
    ),
    modules={"ours": "ours_proxy", "limits": "limits_proxy", "pipecat": "peers.pipecat_proxy"},
    titles=proxy.TITLES,
    peers={"pipecat": PIPECAT},
)

SUBJECTS = {
    subject.name: subject
    for subject in (
        throughput.SUBJECT,
        ask.SUBJECT,
        spawn.SUBJECT,
        memory.SUBJECT,
        cancel.SUBJECT,
        broadcast.SUBJECT,
        PROXY,
        saturated.SUBJECT,
        micro.SUBJECT,
    )
}

QUESTIONS = {
    name: (module.__doc__ or "").partition("\n")[0]
    for name, module in {
        "throughput": throughput,
        "ask": ask,
        "spawn": spawn,
        "memory": memory,
        "cancel": cancel,
        "broadcast": broadcast,
        "proxy": proxy,
        "saturated": saturated,
        "micro": micro,
    }.items()
}
"""What each subject answers, in a sentence."""
