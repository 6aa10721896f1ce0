"""Connections of every kind keep the same promises."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

import pytest
import quart as quart_module
import starlette.websockets
import trio
import trio.testing
import trio_websocket
from wsproto import ConnectionType, WSConnection

from tests.proxies.links import (
    OPENERS,
    OUR_OPENERS,
    OURS,
    SERVERS,
    Meeting,
    Opener,
    Server,
    link,
    ours,
    quart,
    reset,
    send_text,
    websockets,
)
from trioworkers.proxies._dial import open_client_transport
from trioworkers.proxies._line import Line
from trioworkers.proxies._transport import Transport, check_offered
from trioworkers.proxies._trio_websocket import TrioTransport
from trioworkers.proxies._websockets import WebsocketsTransport
from trioworkers.proxies.server import WebSocketProxyServer
from trioworkers.proxies.transports import LinkClosed, transport_for

each_kind = pytest.mark.parametrize("opener", OPENERS.values(), ids=OPENERS)
each_pair = pytest.mark.parametrize("opener", OUR_OPENERS.values(), ids=OUR_OPENERS)
each_server = pytest.mark.parametrize("server", SERVERS.values(), ids=SERVERS)
# Those where the server has not accepted before we are asked to.
each_of_ours = pytest.mark.parametrize("server", OURS.values(), ids=OURS)
each_open_server = pytest.mark.parametrize(
    "server",
    [server for name, server in SERVERS.items() if name != "a connection of trio-websocket"],
    ids=[name for name in SERVERS if name != "a connection of trio-websocket"],
)

REQUEST = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
BIG = b"0123456789abcdef" * 60_000


def line_of(transport: Transport) -> Line:
    """Return what is under a connection of ours."""
    assert isinstance(transport, TrioTransport | WebsocketsTransport)
    assert transport._line is not None
    return transport._line


async def ended(transport: Transport, within: float = 5) -> LinkClosed:
    """Wait for the end of a connection."""
    with trio.fail_after(within), pytest.raises(LinkClosed) as caught:
        while True:
            await transport.receive()
    return caught.value


@each_kind
async def test_messages_arrive_in_order_both_ways(opener: Opener) -> None:
    """S-PROXY-5: each frame is a message of its own, in the order of sending."""
    async with opener() as (client, server):
        with trio.fail_after(30):
            for one, other in ((client, server), (server, client)):
                frames = [b"%d " % n * n for n in range(30)]
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(one.send, frames[:7])
                    assert [await other.receive() for _ in frames[:7]] == frames[:7]
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(one.send, frames[7:])
                    assert [await other.receive() for _ in frames[7:]] == frames[7:]


@each_kind
async def test_text_and_big_messages(opener: Opener) -> None:
    """S-PROXY-5: text arrives as text; a message of almost 1 MiB arrives whole, both ways."""
    async with opener() as (client, server):
        with trio.fail_after(30):
            await send_text(client, "é" * 1000)
            assert await server.receive() == "é" * 1000
            for one, other in ((client, server), (server, client)):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(one.send, [BIG, b"", b"x"])
                    assert [await other.receive() for _ in range(3)] == [BIG, b"", b"x"]


@each_kind
async def test_a_cancelled_receive_loses_nothing(opener: Opener) -> None:
    """S-PROXY-5: a task that stops receiving at any moment takes no message along."""
    async with opener() as (client, server):
        got: list[bytes | str] = []
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.send, [b"%d" % n for n in range(50)])
                passes = 0
                while len(got) < 50:
                    passes += 1
                    with trio.CancelScope() as scope:
                        async with trio.open_nursery() as inner:

                            async def cancel(after: int, scope: trio.CancelScope = scope) -> None:
                                for _ in range(after):
                                    await trio.lowlevel.checkpoint()
                                scope.cancel()

                            inner.start_soon(cancel, passes % 5)
                            got.append(await server.receive())
        assert got == [b"%d" % n for n in range(50)]


@each_kind
async def test_the_client_closes(opener: Opener) -> None:
    """S-PROXY-9: an orderly close is told behind what was sent before, once and for all."""
    async with opener() as (client, server):
        await client.send([b"last"])
        ends: list[LinkClosed] = []
        with trio.fail_after(30):
            assert await server.receive() == b"last"
            async with trio.open_nursery() as nursery:

                async def close() -> None:
                    await client.close(4001, "enough")

                nursery.start_soon(close)
                ends.append(await ended(server))
                # Not before: an ASGI server answers only when its application goes on.
                if server.lost is not None:
                    await server.close()
        assert ends[0].code in (4001, 1006)
        if ends[0].code == 4001:
            assert (ends[0].reason, ends[0].by) == ("enough", "peer")
        mine = await ended(client)
        assert (mine.code, mine.reason, mine.by) == (4001, "enough", "us")
        for transport in (client, server):
            with pytest.raises(LinkClosed):
                await transport.send([b"too late"])
            await transport.close()
            await transport.close(1001, "again")


@each_kind
async def test_the_server_closes(opener: Opener) -> None:
    """S-PROXY-9: the client learns the code and the reason that the server gave."""
    async with opener() as (client, server):
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server.close, 1008, "rude")
                end = await ended(client)
                await client.abort()
        assert (end.code, end.reason, end.by) == (1008, "rude", "peer")
        mine = await ended(server)
        assert (mine.code, mine.by) == (1008, "us")


@each_kind
async def test_aborting_wakes_both_sides(opener: Opener) -> None:
    """S-PROXY-3: a dropped connection is noticed on both sides, also by who waits already."""
    async with opener() as (client, server):
        ends: dict[str, LinkClosed] = {}

        async def wait(name: str, transport: Transport) -> None:
            ends[name] = await ended(transport)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, "client", client)
            nursery.start_soon(wait, "server", server)
            await trio.testing.wait_all_tasks_blocked()
            await client.abort()
        assert (ends["client"].code, ends["client"].by) == (1006, "us")
        assert (ends["server"].code, ends["server"].by) == (1006, "network")
        assert server.lost is not None


@each_kind
async def test_the_server_aborts(opener: Opener) -> None:
    """S-PROXY-11: abort works in a cancelled scope, twice, and wakes who receives."""
    async with opener() as (_, server):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ended, server)
            await trio.testing.wait_all_tasks_blocked()
            with trio.CancelScope() as scope:
                scope.cancel()
                await server.abort()
                await server.abort()
        with pytest.raises(LinkClosed):
            await server.send([b"x"])


@each_kind
async def test_pings(opener: Opener) -> None:
    """S-PROXY-5: a peer can be asked whether it is there, unless an ASGI server does it."""
    async with opener() as (client, server):
        with trio.fail_after(30):
            await client.ping()
            if not server.can_ping:
                with pytest.raises(NotImplementedError):
                    await server.ping()
            else:
                await server.ping()
                await server.abort()
                with pytest.raises(LinkClosed):
                    await server.ping()


@each_server
async def test_names(server: Server) -> None:
    """S-PROXY-1: a transport knows the underlying object, and whom it is connected to."""
    async with link(server) as (client, accepted):
        assert isinstance(client.websocket, trio_websocket.WebSocketConnection)
        assert client.peer.startswith("127.0.0.1:")
        assert accepted.peer.startswith("127.0.0.1:")
        assert client.websocket is not accepted.websocket
        assert transport_for(accepted) is accepted


@each_server
async def test_one_proxy_for_each_connection(server: Server) -> None:
    """S-PROXY-3: a second proxy would take messages from the first: it cannot be made."""
    names: dict[str, Any] = {"worker_name": "assistant", "remote_worker_name": "acme"}
    async with link(server) as (_, accepted):
        with pytest.raises(ValueError, match="worker name"):
            WebSocketProxyServer("a", websocket=accepted, worker_name="", remote_worker_name="b")
        WebSocketProxyServer("first", websocket=accepted, **names)
        with pytest.raises(ValueError, match="this websocket has a proxy already"):
            WebSocketProxyServer("second", websocket=accepted, **names)
        # The core of `websockets` alone is no connection.
        error = TypeError if server is websockets else ValueError
        with pytest.raises(error, match=r"this websocket has a proxy already|must be a WebSocket"):
            WebSocketProxyServer("second", websocket=accepted.websocket, **names)


@each_open_server
async def test_a_subprotocol_that_was_offered(server: Server) -> None:
    """S-PROXY-4: of the subprotocols that the client offers the server chooses one."""
    async with link(server, accept=False, subprotocols=["one", "two"]) as (client, accepted):
        assert accepted.offers == ("one", "two")
        assert client.offers == ("one", "two")
        assert client.subprotocol == "one"
        await accepted.accept()  # changes nothing
        await client.send([b"x"])
        assert await accepted.receive() == b"x"


@each_open_server
async def test_a_subprotocol_that_was_not_offered(server: Server) -> None:
    """S-PROXY-4: choosing what was not offered is refused before it can harm the server."""
    meeting = Meeting(accept=False)
    async with server(meeting) as port:
        async with trio.open_nursery() as nursery:

            async def connect() -> None:
                client = await open_client_transport(f"ws://127.0.0.1:{port}/ws", nursery=nursery)
                assert client.subprotocol is None
                await client.abort()
                meeting.over.set()

            nursery.start_soon(connect)
            accepted = await meeting.arrive()
            with pytest.raises(ValueError, match="not offered subprotocol 'v9', but nothing"):
                await accepted.accept("v9")
            await accepted.accept()


@each_open_server
async def test_closing_before_accepting(server: Server) -> None:
    """S-PROXY-10: a request that is closed instead of accepted is a refusal for the client."""
    meeting = Meeting(accept=False)
    async with server(meeting) as port:
        async with trio.open_nursery() as nursery:

            async def connect() -> None:
                with pytest.raises(Exception, match=r"refused the connection: HTTP status 403"):
                    await open_client_transport(f"ws://127.0.0.1:{port}/ws", nursery=nursery)
                meeting.over.set()

            nursery.start_soon(connect)
            accepted = await meeting.arrive()
            with trio.move_on_after(1):
                await accepted.close()
            await accepted.abort()


@each_open_server
async def test_the_client_goes_before_it_is_accepted(server: Server) -> None:
    """S-PROXY-3: accepting or receiving tells that the client has gone."""
    meeting = Meeting(accept=False)
    async with server(meeting) as port:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(REQUEST)
        accepted = await meeting.arrive()
        reset(stream)
        await stream.aclose()
        await trio.testing.wait_all_tasks_blocked(0.05)
        with trio.fail_after(30), pytest.raises(LinkClosed):
            await accepted.accept()
            await accepted.receive()
        meeting.over.set()
        await accepted.abort()


@pytest.mark.parametrize("by_client", [True, False])
@pytest.mark.parametrize("transport", ["trio-websocket", "websockets"])
async def test_a_message_beyond_the_limit(by_client: bool, transport: str) -> None:
    """S-PROXY-4: a frame beyond the size closes the link with 1009, and both sides learn why."""
    settings: dict[str, Any] = {"max_message_size": 1000, "transport": transport}
    async with link(partial(ours, **settings), **settings) as (client, accepted):
        sender, receiver = (client, accepted) if by_client else (accepted, client)
        async with trio.open_nursery() as nursery:
            # More than the sockets hold: the receiver has stopped reading when the rest comes.
            nursery.start_soon(send_until_lost, sender, [b"x" * 1000, b"y" * 8_000_000])
            nursery.start_soon(lingering, receiver)
            end = await ended(sender)
            assert (end.code, end.by) == (1009, "peer")
            await sender.close()
            await sender.abort()


async def send_until_lost(transport: Transport, frames: list[bytes]) -> None:
    """Send, whether it arrives or not."""
    with contextlib.suppress(LinkClosed):
        await transport.send(frames)


async def lingering(transport: Transport) -> None:
    """Receive too much, and stay until the peer has understood."""
    assert await transport.receive() == b"x" * 1000
    end = await ended(transport)
    assert (end.code, end.by) == (1009, "us")
    with trio.fail_after(30):
        await transport.close()
    await transport.abort()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x82\x01x", 1002),  # not masked
        (b"\xff\xff\xff\xff" * 100, 1002),
        (b"\x81\x82\x00\x00\x00\x00\xff\xfe", 1007),  # text that is no UTF-8
        (b"\x88\x82\x00\x00\x00\x00\x03\xed", 1002),  # closing with 1005
        (b"", 1006),
        (b"\x82", 1006),  # cut off
        (b"\x82\xff\x7f" + b"\xff" * 7 + b"\x00" * 4, None),  # the beginning of 2**63 bytes
    ],
)
@each_of_ours
async def test_garbage_ends_the_connection(server: Server, data: bytes, code: int | None) -> None:
    """S-PROXY-4: what is no WebSocket ends that connection, and tells who receives why."""
    meeting = Meeting()
    async with server(meeting) as port:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(REQUEST)
        accepted = await meeting.arrive()
        await stream.send_all(data)
        await stream.send_eof()
        end = await ended(accepted)
        if code is None:  # trio-websocket waits for more of it
            code = 1009 if server is websockets else 1006
        assert end.code == code
        assert end.by == ("network" if code == 1006 else "us")
        await stream.aclose()
        await accepted.abort()
        meeting.over.set()


@each_pair
async def test_a_connection_that_is_reset(opener: Opener) -> None:
    """S-PROXY-3: a reset is noticed, by who receives and by who sends."""
    async with opener() as (client, accepted):
        reset(line_of(client).stream._stream)  # type: ignore[arg-type]
        await client.abort()
        end = await ended(accepted)
        assert (end.code, end.by) == (1006, "network")
        with pytest.raises(LinkClosed):
            await accepted.send([b"x"])


@each_pair
async def test_what_is_sent_together_leaves_together(opener: Opener) -> None:
    """S-PROXY-5: many frames leave in one write, and others' frames fall between, not into them."""
    async with opener() as (client, accepted):
        writes: list[int] = []
        inner = line_of(client).stream._stream
        send_all = inner.send_all

        async def counting(data: Any) -> None:
            writes.append(len(data))
            await send_all(data)

        inner.send_all = counting
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, [b"%d" % n for n in range(100)])
            nursery.start_soon(client.ping)
            assert [await accepted.receive() for _ in range(100)] == [b"%d" % n for n in range(100)]
        assert sorted(writes) in ([10, 10 * 7 + 90 * 8], [14, 10 * 7 + 90 * 8])


@pytest.mark.parametrize(
    "server",
    [ours, websockets, SERVERS["a connection of trio-websocket"]],
    ids=["ours", "ours on websockets", "theirs"],
)
async def test_a_peer_that_has_stopped_reading(server: Server) -> None:
    """S-PROXY-11: a send to it can be cancelled; then nothing more leaves, and abort is quick."""
    meeting = Meeting()
    async with server(meeting) as port:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(REQUEST)
        accepted = await meeting.arrive()
        with trio.move_on_after(0.1) as scope:
            await accepted.send([b"x" * 1_000_000] * 20)
        assert scope.cancelled_caught
        with trio.move_on_after(0.1) as closing:
            await accepted.close()
        assert closing.cancelled_caught or server in (ours, websockets)
        with trio.fail_after(5):
            await accepted.abort()
            await ended(accepted)
            with pytest.raises(LinkClosed):
                await accepted.send([b"more"])
            meeting.over.set()
        await stream.aclose()


@pytest.mark.parametrize("transport", ["trio-websocket", "websockets"])
async def test_the_reader_outlives_a_cancellation(transport: Any) -> None:
    """S-PROXY-9: in a nursery that was cancelled a connection can still be closed in order."""
    meeting = Meeting()
    async with ours(meeting) as port:
        async with trio.open_nursery() as nursery:
            url = f"ws://127.0.0.1:{port}/"
            client = await open_client_transport(url, nursery=nursery, transport=transport)
            accepted = await meeting.arrive()
            nursery.start_soon(expect_end, accepted, 1001)
            nursery.cancel_scope.cancel()
            with trio.fail_after(30), trio.CancelScope(shield=True):
                async with trio.open_nursery() as peer:
                    peer.start_soon(expect_end, accepted, 1001)
                    await client.close(1001)
            await client.abort()
        meeting.over.set()


@each_kind
async def test_sending_in_a_loop_learns_of_the_loss(opener: Opener) -> None:
    """S-PROXY-5: who only sends, without a pause, does not keep others from noticing the end."""
    async with opener() as (client, server):

        async def send() -> None:
            with pytest.raises(LinkClosed):
                while True:
                    await server.send([b"x"])

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ended, server)
                await trio.testing.wait_all_tasks_blocked()
                await client.abort()
                nursery.start_soon(send)


async def expect_end(transport: Transport, code: int) -> None:
    """Wait for the end of a connection, and look at its code."""
    assert (await ended(transport)).code == code


async def test_the_reader_does_not_outlive_it_for_long(mock_clock: trio.testing.MockClock) -> None:
    """S-PROXY-9: who forgets to abort is reminded after 10 seconds, and not held up for ever."""
    async with trio.open_nursery() as nursery:
        one, _ = trio.testing.memory_stream_pair()
        line = Line(one, nursery)
        async with trio.open_nursery() as inner:
            shaken = trio.Event()

            async def wrap(readers: trio.Nursery) -> None:
                async def read() -> None:
                    await trio.sleep_forever()

                readers.start_soon(read)

            await line.shake_hands(wrap)
            shaken.set()
            inner.start_soon(line.limit_reader)
            inner.cancel_scope.cancel()
        assert not line.done.is_set()
        mock_clock.jump(10)
        with trio.CancelScope(shield=True):
            await line.done.wait()


async def test_quart_ends_for_tasks_of_others() -> None:
    """S-PROXY-3: Quart cancels its handler; whoever else uses the connection is told as well."""
    async with link(quart) as (client, accepted):
        await client.close()
        end = await ended(accepted)
        assert end.code == 1006
        with pytest.raises(LinkClosed):
            await accepted.send([b"x"])


async def test_quart_outside_a_handler() -> None:
    """S-PROXY-1: Quart's websocket means nothing outside a handler, and Quart says so."""
    with pytest.raises(RuntimeError, match="Not within a websocket context"):
        transport_for(quart_module.websocket)


async def test_starlette_that_was_closed_already() -> None:
    """S-PROXY-1: a Starlette WebSocket that the handler has closed is a connection that is over."""

    async def receive() -> dict[str, object]:
        return {"type": "websocket.connect"}

    async def send(_message: object) -> None:
        pass

    socket = starlette.websockets.WebSocket({"type": "websocket", "headers": []}, receive, send)
    transport = transport_for(socket)
    assert transport.offers == ()
    assert transport.peer == "an ASGI client"
    await socket.close()
    with pytest.raises(LinkClosed, match="closed before it was accepted"):
        await transport.accept()
    with pytest.raises(LinkClosed):
        await transport.receive()


async def test_starlette_that_fails_on_the_way() -> None:
    """S-PROXY-3: what an ASGI server raises about a lost connection is the end of the link."""
    events = iter([{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "hi"}])

    async def receive() -> Any:
        return next(events, {"type": "websocket.disconnect", "code": 1001})

    async def send(message: Any) -> None:
        if message["type"] == "websocket.send":
            raise OSError("the pipe is broken")

    socket = starlette.websockets.WebSocket({"type": "websocket", "headers": []}, receive, send)
    transport = transport_for(socket)
    await transport.accept()
    assert await transport.receive() == "hi"
    with pytest.raises(LinkClosed):
        await transport.send([b"x"])
    assert transport.lost is not None
    assert transport.lost.code == 1006


async def test_starlette_that_went_before() -> None:
    """S-PROXY-3: a client that goes before it was accepted is a lost link, whatever raises."""

    async def receive() -> dict[str, object]:
        return {"type": "websocket.disconnect", "code": 1006}

    async def send(_message: object) -> None:
        raise AssertionError("nothing to send")

    socket = starlette.websockets.WebSocket({"type": "websocket", "headers": []}, receive, send)
    with pytest.raises(LinkClosed, match=r"websocket\.connect"):
        await transport_for(socket).accept()


@pytest.mark.parametrize("wrong", [None, "ws://host", object(), 7])
def test_what_is_no_connection(wrong: object) -> None:
    """S-PROXY-1: anything else is refused at once, with a word what is taken."""
    with pytest.raises(TypeError, match=r"trio-websocket, Starlette, FastAPI or Quart.* not"):
        transport_for(wrong)


def test_offers_are_checked() -> None:
    """S-PROXY-4: only what was offered can be chosen; choosing nothing is always possible."""
    check_offered(None, None)
    check_offered("a", ("a",))
    with pytest.raises(ValueError, match="'b', but a, c"):
        check_offered("b", ("a", "c"))


def test_the_end_as_text() -> None:
    """S-PROXY-9: the end of a link reads well in a log."""
    assert str(LinkClosed()) == "1006, closed by network"
    assert str(LinkClosed(1000, "bye", "us")) == "1000 bye, closed by us"


@each_kind
async def test_closing_while_another_task_receives(opener: Opener) -> None:
    """S-PROXY-9: a task that waits for messages is woken when another one closes."""
    async with opener() as (client, server):
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(expect_end, server, 1001)
                nursery.start_soon(expect_end, client, 1001)
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(server.close, 1001)


@each_open_server
async def test_using_what_could_not_be_accepted(server: Server) -> None:
    """S-PROXY-3: a connection that was dropped before it was accepted is lost for good."""
    meeting = Meeting(accept=False)
    async with server(meeting) as port:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(REQUEST)
        accepted = await meeting.arrive()
        await accepted.abort()
        await trio.testing.wait_all_tasks_blocked(0.02)
        for use in (accepted.accept, accepted.receive, accepted.receive):
            with pytest.raises(LinkClosed):
                await use()
        await accepted.close()
        meeting.over.set()
        await stream.aclose()


@each_of_ours
async def test_a_request_whose_client_has_gone_is_closed(server: Server) -> None:
    """S-PROXY-9: closing never raises, even if there is nobody to be told."""
    meeting = Meeting(accept=False)
    async with server(meeting) as port:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(REQUEST)
        accepted = await meeting.arrive()
        reset(stream)
        await stream.aclose()
        await trio.testing.wait_all_tasks_blocked(0.02)
        await accepted.close(1001)
        meeting.over.set()


async def test_a_peer_that_has_gone_has_no_name() -> None:
    """S-PROXY-1: a foreign connection whose peer has gone can be wrapped, and is lost."""
    near, far = trio.socket.socketpair()
    stream = trio.SocketStream(near)
    async with trio.open_nursery() as nursery:
        far.close()
        stream.socket.close()
        nursery.start_soon(noisy, stream)


async def noisy(stream: trio.SocketStream) -> None:
    """Wrap a connection by hand."""
    connection = trio_websocket.WebSocketConnection(stream, WSConnection(ConnectionType.SERVER))
    assert transport_for(connection).peer == "a peer that has gone"


async def test_starlette_used_behind_our_back() -> None:
    """S-PROXY-3: if the handler itself has received the end, or closed, the link is lost."""
    events = iter([{"type": "websocket.connect"}])

    async def receive() -> Any:
        return next(events, {"type": "websocket.disconnect", "code": 1001})

    async def send(_message: object) -> None:
        pass

    socket = starlette.websockets.WebSocket({"type": "websocket", "headers": []}, receive, send)
    await socket.accept()
    await socket.receive()
    await socket.close()
    transport = transport_for(socket)
    with pytest.raises(LinkClosed, match="disconnect message has been received"):
        await transport.receive()
    other = transport_for(socket)
    await other.close()
    assert other.lost is not None


async def test_quart_used_elsewhere() -> None:
    """S-PROXY-1: Quart's websocket works outside its handler; but who closes it twice is safe."""
    taken: list[object] = []

    class Bare(Meeting):
        async def host(self, websocket: object) -> None:
            taken.append(quart_module.websocket._get_current_object())  # type: ignore[attr-defined]
            await self._give.send(transport_for(websocket))
            await self.over.wait()

    meeting = Bare()
    async with quart(meeting) as port, trio.open_nursery() as nursery:
        client: list[Transport] = []

        async def connect() -> None:
            client.append(await open_client_transport(f"ws://127.0.0.1:{port}/ws", nursery=nursery))

        nursery.start_soon(connect)
        await meeting.arrive()
        transport = transport_for(taken[0])
        await transport.accept()
        await transport.send([b"x"])
        await trio.testing.wait_all_tasks_blocked()
        assert await client[0].receive() == b"x"
        await transport.websocket.close(1000)
        await transport.close()
        assert transport.lost is not None
        await client[0].abort()
        meeting.over.set()


async def test_a_foreign_connection_without_a_socket() -> None:
    """S-PROXY-1: a trio-websocket connection over any stream can be wrapped."""
    near, _ = trio.testing.memory_stream_pair()
    connection = trio_websocket.WebSocketConnection(near, WSConnection(ConnectionType.SERVER))
    assert "StapledStream" in transport_for(connection).peer
