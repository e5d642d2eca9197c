"""Ports of servers that come back on the port that they had."""

from __future__ import annotations

import socket
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager


@contextmanager
def kept_ports(count: int) -> Generator[Sequence[int]]:
    """Keep free ports at loopback for servers that bind with ``SO_REUSEADDR``, and from anybody else.

    Nobody listens on them meanwhile, so that connections are refused; but none is given to a socket that
    asks for whichever is free, as it might be while its server is away.
    """
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(("127.0.0.1", 0))
        yield [one.getsockname()[1] for one in sockets]
