"""Two workers that send each other messages.

Shows a message, a handler for it, sending by name, and how the work ends.

    python examples/ping_pong.py
"""

from __future__ import annotations

import trio

from trioworkers import BusDataMessage, Worker, WorkerRunner, handles, message


@message
class Ball(BusDataMessage):
    hits: int


class Player(Worker):
    def __init__(self, name: str, opponent: str) -> None:
        super().__init__(name)
        self.opponent = opponent

    @handles(Ball)
    async def hit(self, ball: Ball) -> None:
        print(f"{self.name} {ball.hits}")
        if ball.hits < 6:
            await self.send(Ball(target=self.opponent, hits=ball.hits + 1))
        else:
            await self.end("the match is over")


async def main() -> None:
    runner = WorkerRunner()
    await runner.add_workers(Player("ping", "pong"), Player("pong", "ping"))
    # A mailbox takes messages from the moment its worker is added.
    await runner.send(Ball(target="ping", hits=1))
    print(await runner.run())


if __name__ == "__main__":
    trio.run(main)
