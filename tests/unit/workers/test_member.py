"""A worker's side, with the supervisor's ends of its sockets."""

from __future__ import annotations

import asyncio
import socket

from proxy.workers.board import Board
from proxy.workers.member import Member
from proxy.workers.messages import Decoder, Message


async def taken(connection: socket.socket) -> None:
    connection.close()


async def test_a_configuration_that_is_loaded_before_it_serves_is_reported() -> None:
    connections, theirs = socket.socketpair()
    control, their_control = socket.socketpair()
    control.setblocking(False)
    member = Member(
        0, Board(1), workers=1, connections=theirs, control=their_control, restarted=True, configuration=b"first"
    )
    decoder = Decoder()
    messages: list[Message] = []

    member.loaded(b"second")
    async with asyncio.TaskGroup() as group:
        task = group.create_task(member.run(taken))
        while len(messages) < 2:
            messages += decoder.feed(await asyncio.get_running_loop().sock_recv(control, 4096))
        task.cancel()
    for each in (connections, theirs, control):
        each.close()

    assert messages == [{"kind": "loaded", "configuration": "c2Vjb25k"}, {"kind": "ready"}]
    assert member.configuration == b"first"
