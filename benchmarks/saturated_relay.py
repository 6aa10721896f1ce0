"""A relay in a process of its own that forwards so many bytes a second, as a slow line would.

    python -m benchmarks.saturated_relay RATE PORT small

Listens at a port that it prints, takes one connection, and connects it with PORT.  What comes is
read in pieces of about `TICK` seconds, and each leaves when a line of that rate would have carried
it; the relay reads no further before.  So the kernel's buffers fill, and with `small` these are asked to
be as small as `BUFFER`; otherwise (`default`) they are what the kernel makes them.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from contextlib import suppress

TICK = 0.002
"""How many seconds of the line the relay holds at a time."""

BUFFER = 16_384
"""How many bytes each buffer of the kernel is asked to hold, of every socket on a slow line."""

SEGMENT = 1_448
"""How many bytes leave in a packet, as on Ethernet."""


class Pacer:
    """Says when what comes has crossed a line that carries so many bytes a second."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._free_at = 0.0

    @property
    def piece(self) -> int:
        """How many bytes are taken at once."""
        return max(1, int(self.rate * TICK))

    def crossed(self, now: float, size: int) -> float:
        """Return when `size` bytes that come now have crossed, behind all that came before."""
        # Who was woken a little late is not slower for that; a line that was idle saves nothing up.
        begun = self._free_at if now - self._free_at < TICK else now
        self._free_at = begun + size / self.rate
        return self._free_at


def make_small(sock: socket.socket) -> None:
    """Let the kernel buffer little of a connection, or of all that come to a listener."""
    # Before it connects or listens, as the size of the window is agreed on then.
    # And short segments, because the long ones of loopback do not fit, and then wait for a timer.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)


def forward(source: socket.socket, sink: socket.socket, rate: float) -> None:
    """Forward one way until that ends."""
    pacer = Pacer(rate)
    with suppress(OSError):
        while piece := source.recv(pacer.piece):
            now = time.perf_counter()
            time.sleep(max(0.0, pacer.crossed(now, len(piece)) - now))
            sink.sendall(piece)
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def main() -> None:
    """Relay one connection."""
    rate, port = float(sys.argv[1]), int(sys.argv[2])
    with socket.socket() as listener, socket.socket() as far:
        if sys.argv[3] == "small":
            make_small(listener)
            make_small(far)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        print(listener.getsockname()[1], flush=True)
        near, _ = listener.accept()
        with near:
            far.connect(("127.0.0.1", port))
            for each in (near, far):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=forward, args=(far, near, rate))
            back.start()
            forward(near, far, rate)
            back.join()


if __name__ == "__main__":
    main()
