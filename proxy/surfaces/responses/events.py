"""Writes the events of a Responses stream: `type`, a gapless `sequence_number`, and the members of each event.

A delta is written into a template that has everything but the number and the text, because a stream consists of deltas.
"""

from __future__ import annotations

from typing import Any

from proxy.core.json_text import compact_nulled

Template = tuple[bytes, bytes, bytes]  # before the number, between it and the text, behind the text


class EventWriter:
    """The events of one stream. `live` is false for an answer that is not streamed: nothing is written."""

    __slots__ = ("_out", "live", "number")

    def __init__(self, *, live: bool = True) -> None:
        self.live = live
        self.number = 0  # of the next event
        self._out: list[bytes] = []

    def event(self, kind: str, members: dict[str, Any]) -> None:
        """Write an event of one type."""
        if self.live:
            self.encoded(kind, compact_nulled(members)[1:-1])

    def encoded(self, kind: str, members: bytes) -> None:
        """Write an event whose members are JSON already, without the braces around them."""
        if self.live:
            name = kind.encode()
            self._out.append(
                b'event: %b\ndata: {"type":"%b","sequence_number":%d,%b}\n\n' % (name, name, self.number, members)
            )
            self.number += 1

    def delta(self, template: Template, text: str) -> None:
        """Write a delta with `text`."""
        if self.live:
            head, middle, tail = template
            self._out.append(b"%b%d%b%b%b" % (head, self.number, middle, compact_nulled(text), tail))
            self.number += 1

    def take(self) -> bytes:
        """Return the events that are due."""
        out = b"".join(self._out)
        self._out.clear()
        return out


def template(kind: str, members: dict[str, Any], more: dict[str, Any] | None = None) -> Template:
    """Return the template of a delta: `members` come before the text, `more` after it."""
    head = f'event: {kind}\ndata: {{"type":"{kind}","sequence_number":'.encode()
    middle = b"," + compact_nulled(members)[1:-1] + b',"delta":'
    tail = b"," + compact_nulled(more)[1:] if more else b"}"
    return head, middle, tail + b"\n\n"
