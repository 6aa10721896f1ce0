"""A request for a connection, as `serve_proxies` shows it to `authenticate` and `build`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import attrs

from ._transport import Transport

__all__ = ["Headers", "IncomingConnection"]


class Headers(Mapping[str, str]):
    """The headers of a request, by name in any case.

    Several of one name are joined by `", "`.
    """

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._values: dict[str, str] = {}
        for key, value in raw:
            name, text = key.decode("latin-1").lower(), value.decode("latin-1")
            self._values[name] = f"{self._values[name]}, {text}" if name in self._values else text

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        # Values may be secrets, and this gets into logs.
        return f"<Headers {', '.join(self._values)}>"


@attrs.frozen(eq=False)
class IncomingConnection:
    """A WebSocket connection that was asked for and not accepted yet."""

    path: str
    """The path of the URL, with the query."""

    headers: Headers
    """The request's headers: `headers.get("authorization")`."""

    remote: str
    """Who asks: `"127.0.0.1:5123"`."""

    offers: tuple[str, ...]
    """The subprotocols that the client offers."""

    transport: Transport = attrs.field(repr=False)
    """What is behind it; for the proxies."""
