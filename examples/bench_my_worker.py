"""How long an urgent message waits in a worker of your own, while data floods it.

A translator gets sentences faster than it can translate them, and now and then it is told to change
the language, which has to happen at once.  None of its messages knows that it is measured.

    python examples/bench_my_worker.py
    trioworkers bench priority --scenario examples.bench_my_worker:scenario

The second command runs the scenario several times, each in a process of its own, and can draw it.
Needs the extra `bench`.
"""

from __future__ import annotations

import trio

from trioworkers import BusDataMessage, BusSystemMessage, Worker, handles, message
from trioworkers.bench import LaneReport, PriorityScenario, PrioritySettings, measure_priority


@message
class Sentence(BusDataMessage):
    text: str


@message
class Language(BusSystemMessage):
    code: str


class Translator(Worker):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.language = "eo"
        self.translated = 0

    @handles(Sentence)
    async def translate(self, sentence: Sentence) -> None:
        await trio.sleep(0.001)
        self.translated += len(sentence.text)

    @handles(Language)
    async def change(self, language: Language) -> None:
        self.language = language.code


async def scenario(bench: PriorityScenario) -> None:
    await bench.runner.add_workers(Translator("translator"))
    await bench.flood("translator", lambda: Sentence(text="Saluton, mondo!"), producers=8)
    await bench.probe("translator", lambda: Language(code="fr"), count=bench.settings.probes)


def show(lane: str, report: LaneReport) -> None:
    times = ", ".join(
        f"{name} {seconds * 1_000:.2f} ms"
        for name, seconds in (("p50", report.p50), ("p99", report.p99), ("max", report.maximum))
    )
    print(f"{lane}: {report.count} messages, {times}")


async def main() -> None:
    report = await measure_priority(scenario, PrioritySettings(probes=300))
    show("system", report.system)
    show("data", report.data)
    print(f"data: {report.throughput:.0f} a second; starved for {report.starvation * 1_000:.2f} ms")


if __name__ == "__main__":
    trio.run(main)
