"""System messages overtake data, and may interrupt it.

A printer has three pages to print.  A system message is handled while a page is being printed,
whatever waits in the data lane; one with `interrupt=True` cuts that page off first.

    python examples/priority.py
"""

from __future__ import annotations

import trio

from trioworkers import BusDataMessage, BusSystemMessage, Worker, handles, message, open_runner


@message
class Page(BusDataMessage):
    number: int


@message
class LookAtInk(BusSystemMessage):
    pass


@message
class SkipPage(BusSystemMessage):
    pass


class Printer(Worker):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.printing = trio.Event()

    @handles(Page)
    async def print_page(self, page: Page) -> None:
        print(f"page {page.number} begins")
        self.printing.set()
        await trio.sleep(0.1)
        print(f"page {page.number} is done")

    @handles(LookAtInk)
    async def look_at_ink(self, _message: LookAtInk) -> None:
        print("the ink will last")

    @handles(SkipPage, interrupt=True)
    async def skip_page(self, _message: SkipPage) -> None:
        print("that page is skipped")


async def main() -> None:
    printer = Printer("printer")
    async with open_runner(printer) as runner:
        for number in range(1, 4):
            await runner.send(Page(target="printer", number=number))
        await printer.printing.wait()
        await runner.send(LookAtInk(target="printer"))
        await trio.sleep(0.01)
        await runner.send(SkipPage(target="printer"))
    # Leaving the block ends the runner: what is queued is handled first.
    print(f"lost: {runner.statistics().dead_letters}")


if __name__ == "__main__":
    trio.run(main)
