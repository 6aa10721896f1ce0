"""A shop that goes on when a till breaks: a tree of workers, and a supervisor.

Every fifth customer pays with a coin that crashes the till.  The shop restarts it: a new object
with the old mailbox, so no other customer is lost.  It would give up if tills broke more often
than `max_restarts` times in `period` seconds; one customer every 0.2 s breaks 10.  Press Ctrl-C to
close the shop, once to end and twice to cancel.

    python examples/supervised_tree.py
"""

from __future__ import annotations

import itertools
from functools import partial

import trio

from trioworkers import (
    Backoff,
    BusDataMessage,
    Restart,
    Strategy,
    Worker,
    WorkerErrorData,
    WorkerRunner,
    handles,
    message,
)


@message
class Payment(BusDataMessage):
    customer: int
    coin: int


class Till(Worker):
    async def on_start(self) -> None:
        self.sum = 0
        print(f"{self.name} opens")

    @handles(Payment)
    async def take(self, payment: Payment) -> None:
        # A coin worth nothing crashes this till.
        change = 100 % payment.coin
        self.sum += payment.coin - change
        print(f"{self.name} serves customer {payment.customer}")

    async def on_stop(self) -> None:
        print(f"{self.name} closes, {self.stop_reason}")


class Shop(Worker):
    strategy = Strategy.ONE_FOR_ONE
    max_restarts = 20
    period = 10.0
    backoff = Backoff(initial=0.05, maximum=1.0)

    async def on_start(self) -> None:
        tills = ["till-1", "till-2"]
        # A function, not an object: each restart gets a till that knows nothing of the crash.
        await self.add_workers(*(partial(Till, name) for name in tills), restart=Restart.PERMANENT)
        self.nursery.start_soon(self.let_customers_in, tills)

    async def let_customers_in(self, tills: list[str]) -> None:
        for customer in itertools.count(1):
            till = tills[customer % len(tills)]
            coin = 0 if customer % 5 == 0 else 50
            await self.send(Payment(target=till, customer=customer, coin=coin))
            await trio.sleep(0.2)

    async def on_worker_failed(self, data: WorkerErrorData) -> None:
        print(f"{data.worker_name} broke: {data.error}")

    async def on_stop(self) -> None:
        print("the shop is closed")


async def main() -> None:
    runner = WorkerRunner()
    await runner.add_workers(Shop("shop"))
    print(await runner.run())


if __name__ == "__main__":
    trio.run(main)
