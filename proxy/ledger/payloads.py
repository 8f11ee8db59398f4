"""The payloads of a journal's frames: a byte for the kind, then a pair in MessagePack.

    I   the row of an attempt that is about to be sent, and that of its call, which is null after the first attempt
    O   the row of a call, and those of its attempts; a later one of the same call replaces it

Rows are arrays, so fields may only be added at the end of `AttemptRow` and `CallRow`, with defaults: then both the
previous and the next release can read a journal.
"""

from __future__ import annotations

import msgspec

from proxy.core.ledger import AttemptRow, CallRow

INTENT, OUTCOME = b"I", b"O"
Outcome = tuple[CallRow, list[AttemptRow]]

decode_intent = msgspec.msgpack.Decoder(tuple[AttemptRow, CallRow | None]).decode
decode_outcome = msgspec.msgpack.Decoder(Outcome).decode
