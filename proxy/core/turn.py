"""One turn of a stored dialog: what a call reads from the store, and what it adds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proxy.core.call import Call

Item = dict[str, Any]  # an item of the Responses API, with an `id`


@dataclass(slots=True, eq=False)
class Turn:
    """Made by a surface that reads a call; `proxy/dialogs` loads the history, and writes the turn.

    A call with `references`, `previous` or `conversation` is read in two steps: `complete` returns the call with the
    earlier items before its own. The encoder of the answer sets `output` and `document` when the answer is complete.
    """

    id: str  # of the response: `resp_...`
    input: list[Item] = field(repr=False)  # of this request
    complete: Callable[[Sequence[Item]], Call] = field(repr=False)  # from the items before `input`
    previous: str | None = None  # the response that it follows
    conversation: str | None = None
    references: tuple[str, ...] = ()  # ids of stored items that `input` names
    store: bool = False  # keep the response
    background: bool = False  # it runs without a client that waits for it
    events: bool = False  # with `background`: keep the events of the answer, so that they can be streamed again
    output: list[Item] = field(default_factory=list, repr=False)  # of the answer
    document: Item | None = field(default=None, repr=False)  # the response object; `None`: the answer is not complete
    context: Any = field(default=None, repr=False)  # the surface's own, from its reader to its encoder
    found: dict[str, Item] = field(default_factory=dict, repr=False)  # the referenced items, set before `complete`
