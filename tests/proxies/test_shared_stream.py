"""A stream that several tasks write to, each in whole pieces."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable

import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from trioworkers.proxies._shared_stream import SharedStream, address_name, peer_name


class Pipe(trio.abc.Stream):
    """Takes one byte a step, notes all, and takes only so many."""

    def __init__(self, room: float = float("inf")) -> None:
        self.taken = bytearray()
        self.room = room
        self.writing = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes one by one."""
        if self.writing:
            raise trio.BusyResourceError
        self.writing = True
        try:
            for byte in bytes(data):
                if len(self.taken) >= self.room:
                    await trio.sleep_forever()
                await trio.lowlevel.checkpoint()
                self.taken.append(byte)
        finally:
            self.writing = False

    async def wait_send_all_might_not_block(self) -> None:
        """Return at once."""
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return the end."""
        await trio.lowlevel.checkpoint()
        return b""

    async def aclose(self) -> None:
        """Do nothing."""
        await trio.lowlevel.checkpoint()


async def test_pieces_are_written_whole_and_in_order() -> None:
    """S-PROXY-5: what several tasks write at the same time is not mixed, and keeps its order."""
    pipe = Pipe()
    stream = SharedStream(pipe, 100)
    async with trio.open_nursery() as nursery:
        for letter in b"abcdefgh":
            nursery.start_soon(stream.send_all, bytes([letter]) * 10)
            await wait_all_tasks_blocked()
        nursery.start_soon(stream.wait_send_all_might_not_block)
    assert pipe.taken == b"".join(bytes([letter]) * 10 for letter in b"abcdefgh")


@pytest.mark.parametrize("cut", range(65))
async def test_a_write_that_was_cut_is_the_last_one(cut: int) -> None:
    """S-PROXY-5: cancelled at any 64th of a frame, nothing follows that could complete it."""
    pipe = Pipe(room=cut)
    stream = SharedStream(pipe, 100)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, b"x" * 65)
            await wait_all_tasks_blocked()
            scope.cancel()
    assert len(pipe.taken) == cut
    pipe.room = 1000
    with pytest.raises(trio.BrokenResourceError, match="cut off"):
        await stream.send_all(b"next")
    assert len(pipe.taken) == cut


async def test_waiting_for_the_turn_can_be_cancelled() -> None:
    """S-PROXY-5: a write that has not begun is cancelled without harm."""
    pipe = Pipe(room=5)
    stream = SharedStream(pipe, 100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, b"0123456789")
        await wait_all_tasks_blocked()
        with trio.move_on_after(0) as scope:
            await stream.send_all(b"never")
        assert scope.cancelled_caught
        nursery.cancel_scope.cancel()
    assert pipe.taken == b"01234"


async def test_a_long_handshake_is_cut_off() -> None:
    """S-PROXY-10: before the handshake is done a peer cannot send without end; then it may."""
    near, far = memory_stream_pair()
    stream = SharedStream(near, 10)
    await far.send_all(b"0123456789")
    assert await stream.receive_some() == b"0123456789"
    await far.send_all(b"x")
    with pytest.raises(trio.BrokenResourceError, match="too long"):
        await stream.receive_some()
    stream.unlimit()
    await far.send_all(b"x" * 1000)
    assert len(await stream.receive_some()) == 1000
    assert not stream.eof
    await far.send_eof()
    assert await stream.receive_some() == b""
    assert stream.eof


REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
ANSWER = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"


async def test_others_have_their_turn_between_tiny_frames() -> None:
    """S-PROXY-5: a neighbour runs at least once for every few frames that a peer has sent."""
    near, far = memory_stream_pair()
    stream = SharedStream(near, 10_000)
    turns = 0

    async def neighbour() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    await far.send_all(REQUEST)
    assert await stream.receive_some(65_536) == REQUEST
    await stream.send_all(ANSWER)
    stream.unlimit()
    await far.send_all(b"\x8a\x80\0\0\0\0" * 5000)
    await far.send_eof()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(neighbour)
        pieces: list[int] = []
        while piece := await stream.receive_some(65_536):
            pieces.append(len(piece))
        assert turns >= len(pieces) - 2
        nursery.cancel_scope.cancel()
    assert sum(pieces) == 6 * 5000
    assert max(pieces) <= 6 * 16


async def test_frames_behind_the_answer_to_a_handshake_are_taken_in_small_steps() -> None:
    """S-PROXY-5: so it is with what a server sends together with its answer, and after a close."""
    near, far = memory_stream_pair()
    stream = SharedStream(near, 50_000)
    await stream.send_all(REQUEST)
    await far.send_all(ANSWER + b"\x8a\0" * 1000 + b"\x88\0" + b"\x8a\0" * 1000)
    pieces = [await stream.receive_some(65_536) for _ in range(60)]
    assert max(map(len, pieces[1:])) <= 2 * 16 + 64
    await stream.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await stream.receive_some(65_536)  # what was left is nobody's any more


async def test_a_message_cannot_have_empty_fragments_without_end() -> None:
    """S-PROXY-5: what has no size counts, too, and a message of fragments begins to count anew."""
    near, far = memory_stream_pair()
    stream = SharedStream(near, 1000)
    whole = b"\x02\0" + b"\0\0" * 4000 + b"\x80\0"
    await far.send_all(ANSWER + whole + whole)
    stream.unlimit()
    read = 0
    while read < len(ANSWER + whole + whole):
        read += len(await stream.receive_some(65_536))
    await far.send_all(b"\x02\0" + b"\0\0" * 5000)
    with pytest.raises(trio.BrokenResourceError, match="too many empty fragments"):
        for _ in range(500):
            await stream.receive_some(65_536)


async def test_a_client_has_to_wait_for_the_answer_to_its_handshake() -> None:
    """S-PROXY-10: frames before it are not kept, to be looked at all at once when it is given."""
    near, far = memory_stream_pair()
    stream = SharedStream(near, 1000)
    await far.send_all(REQUEST)
    assert await stream.receive_some(65_536) == REQUEST
    await far.send_all(b"\x8a\x80\0\0\0\0")
    with pytest.raises(trio.BrokenResourceError, match="did not wait"):
        await stream.receive_some(65_536)


async def test_lingering() -> None:
    """S-PROXY-4: what the peer still sends is read to nobody, until it has closed its end."""
    near, far = memory_stream_pair()
    stream = SharedStream(near, 10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.linger)
        await far.send_all(b"x" * 100_000)
        assert await far.receive_some() == b""
        await far.aclose()
    await stream.aclose()
    await stream.linger()  # has no effect any more
    await SharedStream(Pipe(), 10).linger()  # nor where there is no half of a connection to close


async def test_names() -> None:
    """S-PROXY-1: a peer has a name for the log, whatever kind of connection it has."""
    assert address_name(("127.0.0.1", 80)) == "127.0.0.1:80"
    assert address_name(["::1", 80, 0, 0]) == "[::1]:80"
    assert address_name("") == "a local socket"
    assert address_name("/run/socket") == "/run/socket"
    assert peer_name(Pipe()) == "Pipe"
    near, far = trio.socket.socketpair()
    with near, far:
        assert peer_name(trio.SocketStream(near)) == "a local socket"
        assert repr(SharedStream(trio.SocketStream(far), 1)) == "<SharedStream a local socket>"
    assert peer_name(trio.SocketStream(near)) == "a peer that has gone"


async def sockets(room: int) -> tuple[trio.SocketStream, trio.SocketStream]:
    """Return two ends of a TCP connection with little room in between."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    listener.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, room)
    client = trio.socket.socket()
    client.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_SNDBUF, room)
    await client.connect(listener.socket.getsockname())
    server = await listener.accept()
    await listener.aclose()
    return trio.SocketStream(client), server


@pytest.mark.skipif(sys.platform == "win32", reason="sockets are no files there")
async def test_what_is_written_at_once_and_what_waits_keep_their_order() -> None:
    """S-PROXY-5: a piece that went in part is completed before anything else is written."""
    inner, peer = await sockets(4096)
    async with inner, peer:
        stream = SharedStream(inner, 100)
        sent = received = b""
        in_part = False
        while not in_part:
            piece = b"%06d" % len(sent) * 500
            assert stream.send_now(piece)
            sent += piece
            in_part = stream.unfinished
        assert not stream.send_now(b"not now")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, b"the end")
            while len(received) < len(sent) + 7:
                received += await peer.receive_some()
        assert received == sent + b"the end"
        assert not stream.unfinished
        assert stream.send_now(b"again")
        assert await peer.receive_some() == b"again"


@pytest.mark.skipif(sys.platform == "win32", reason="sockets are no files there")
async def test_nothing_is_written_at_once_where_it_could_do_harm() -> None:
    """S-PROXY-5: not beside a write, not behind one that was cut, and not on a lost connection."""
    inner, peer = await sockets(4096)
    async with inner, peer:
        stream = SharedStream(inner, 100)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.send_all, bytes(10_000_000))
                await wait_all_tasks_blocked()
                assert not stream.send_now(b"beside")
                scope.cancel()
        assert not stream.send_now(b"behind")
    assert not SharedStream(inner, 100).send_now(b"closed")
    one, _other = memory_stream_pair()
    assert not SharedStream(one, 100).send_now(b"no socket")


class BeforeStep(trio.abc.Instrument):
    """Does something once, just before a task's next step."""

    def __init__(self, task: trio.lowlevel.Task, action: Callable[[], object]) -> None:
        self.task = task
        self.action: Callable[[], object] | None = action

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Do it, if it is that task's."""
        if task is self.task and self.action is not None:
            action, self.action = self.action, None
            action()


@pytest.mark.skipif(sys.platform == "win32", reason="sockets are no files there")
async def test_what_another_has_read_is_waited_for_again() -> None:
    """S-PROXY-5: a socket that is readable no more does not end the connection."""
    inner, peer = await sockets(4096)
    async with inner, peer:
        stream = SharedStream(inner, 100)
        read: list[bytes | bytearray] = []

        async def reader() -> None:
            steal = BeforeStep(trio.lowlevel.current_task(), lambda: os.read(fd, 100))
            trio.lowlevel.add_instrument(steal)
            read.append(await stream.receive_some())
            trio.lowlevel.remove_instrument(steal)

        fd = inner.socket.fileno()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader)
            await wait_all_tasks_blocked()
            await peer.send_all(b"stolen")
            await wait_all_tasks_blocked(0.01)
            assert read == []
            await peer.send_all(b"next")
        assert read == [b"next"]


@pytest.mark.parametrize("when", ["before", "while it waits", "just before it reads"])
async def test_reading_from_what_was_closed(when: str) -> None:
    """S-PROXY-4: whoever reads learns that the stream was closed on this side, and never waits."""
    inner, peer = await sockets(4096)
    async with inner, peer:
        stream = SharedStream(inner, 100)

        async def reader() -> None:
            if when == "just before it reads":
                close = BeforeStep(trio.lowlevel.current_task(), inner.socket.close)
                trio.lowlevel.add_instrument(close)
            with pytest.raises(trio.ClosedResourceError):
                await stream.receive_some()

        if when == "before":
            await stream.aclose()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader)
            await wait_all_tasks_blocked()
            if when == "while it waits":
                await stream.aclose()
            else:
                await peer.send_all(b"too late")


async def test_reading_from_a_connection_that_was_reset() -> None:
    """S-PROXY-4: a reset is no orderly end."""
    inner, peer = await sockets(4096)
    async with inner:
        peer.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))
        await peer.aclose()
        with pytest.raises(trio.BrokenResourceError):
            await SharedStream(inner, 100).receive_some()
