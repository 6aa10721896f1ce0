"""Act one: a coordinator spreads files over counting workers as one job group.

```
coordinator          job survey: find files, share them out, put the results together
+-- counter-1        job count: count the words of its share
+-- counter-2
```
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import partial

import attrs
import trio

from trioworkers import Job, Restart, Worker, job

from .files import Found, Kind, Root, Search, find_files, share_out
from .words import Counted, count_files, next_step

__all__ = ["Coordinator", "CountingWorker", "Findings", "Share", "Survey", "Tally", "put_together"]


@attrs.frozen
class Survey:
    """Ask the coordinator to count everything at and below `roots`."""

    roots: tuple[Root, ...]
    workers: int


@attrs.frozen
class Share:
    """Ask a counting worker to count these files."""

    files: tuple[Found, ...]


@attrs.frozen
class Tally:
    """What a counting worker has counted: all of its share, unless it was ended early."""

    files: tuple[Counted, ...]
    words: Counter[str]


@attrs.frozen
class Findings:
    """What the coordinator has put together; `uncounted` files were left when an end came."""

    files: tuple[Counted, ...]
    words: Counter[str]
    others: Counter[Kind]
    uncounted: int = 0


class CountingWorker(Worker):
    """Counts the words of files, in a thread, one chunk at a time."""

    @job()
    async def count(self, job: Job, share: Share) -> Tally:
        """Count a share; after an end was asked for, only the file in hand."""
        words: Counter[str] = Counter()
        files: list[Counted] = []
        steps = count_files(share.files, words)
        # A cancel does not wait for a slow disk: the thread is left to finish its chunk alone.
        while step := await trio.to_thread.run_sync(next_step, steps, abandon_on_cancel=True):
            files += step.files
            await job.update({"files": len(step.files), "bytes": step.size})
            if self.stop_reason is not None and not step.within_file:
                break
        return Tally(tuple(files), words)


class Coordinator(Worker):
    """Spreads the files over counting workers, its children."""

    @job()
    async def survey(self, job: Job, survey: Survey) -> Findings:
        """Count everything; updates say what is planned, then what each worker has done."""
        search = await trio.to_thread.run_sync(find_files, survey.roots, self._go_on)
        shares = {
            f"counter-{number}": Share(files)
            for number, files in enumerate(share_out(search.files, survey.workers), 1)
        }
        if self.stop_reason is not None:
            return Findings((), Counter(), search.others, len(search.files))
        await job.update({"plan": {name: _size(share) for name, share in shares.items()}})
        await self.add_workers(
            *(partial(CountingWorker, name) for name in shares), restart=Restart.TRANSIENT
        )
        async with self.job_group(CountingWorker.count, shares, label="count words") as group:
            async for event in group:
                await job.update({"worker": event.worker_name, **(event.data or {})})
        return put_together(search, group.responses.values())

    def _go_on(self) -> bool:
        trio.from_thread.check_cancelled()
        return self.stop_reason is None


def put_together(search: Search, tallies: Iterable[Tally]) -> Findings:
    """Add up what the counting workers have counted."""
    words: Counter[str] = Counter()
    files: list[Counted] = []
    for tally in tallies:
        words.update(tally.words)
        files += tally.files
    return Findings(tuple(files), words, search.others, len(search.files) - len(files))


def _size(share: Share) -> dict[str, int]:
    return {"files": len(share.files), "bytes": sum(file.size for file in share.files)}
