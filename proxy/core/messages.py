"""What the messages of a chat contain, as far as the proxy has to know it without reading their texts."""

from __future__ import annotations

from msgspec import Struct


class MessageFacts(Struct, frozen=True, gc=False):
    """What is or may be in the messages."""

    parts: bool = True  # contents that are lists of parts
    replayed: bool = True  # members that Signalbox puts into answers of translated providers, in assistant messages
    large: bool = True  # values that may exceed the limits of `proxy/core/json_limits.py`


UNKNOWN = MessageFacts()
