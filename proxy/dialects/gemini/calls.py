"""Translation of Gemini's function calls to tool calls: ids, signatures, and partial arguments.

A call is sent whole or (with Vertex's `streamFunctionCallArguments`) as a name, `partialArgs` with the path of each
value, and an empty call at the end. OpenAI's arguments are text that is only appended to, so partial arguments are
collected and written when they are complete.

The thought signature is written to `extra_content.google.thought_signature` of the call, as in Google's
OpenAI-compatible endpoint (ai.google.dev/gemini-api/docs/thought-signatures), and stored for clients that do not send
it back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from proxy.dialects.answer_tool import Structure, unwrapped
from proxy.dialects.memory import ToolCall
from proxy.dialects.names import ToolNames
from proxy.dialects.writer import AnswerWriter, generated_id

Keep = Callable[[list[ToolCall], list[str | None]], None]  # an answer's calls and their signatures

_STEP = re.compile(r"""\.?([^.\[\]'"$]{1,500})|\[(\d{1,9})\]|\[(?:'([^']{0,500})'|"([^"]{0,500})")\]""", re.ASCII)
_VALUES = ("stringValue", "numberValue", "boolValue", "nullValue")
_LONGEST_PATH = 4096  # characters
_LONGEST_LIST = 10_000  # items that an index in a path may create


@dataclass(slots=True)
class _Pieces:
    """A call with incomplete arguments."""

    place: int | None  # None: the function for the structured answer
    arguments: dict[str, Any]
    growing: tuple[str | int, ...] | None = None  # the string that the next piece continues


@dataclass(slots=True)
class Calls:
    """The calls of one choice, written as they arrive."""

    writer: AnswerWriter
    keep: Keep
    choice: int
    names: ToolNames | None = None
    structure: Structure | None = None  # with the function for the structured answer
    answered: bool = False
    count: int = 0
    _signatures: list[str | None] = field(default_factory=list)
    _ids: set[str] = field(default_factory=set)
    _open: _Pieces | None = None

    def take(self, call: dict[str, Any], signature: str | None) -> None:
        """Read a `functionCall` part."""
        name = call.get("name")
        if isinstance(name, str) and name:
            self.close()
            self._begin(call, name, signature)
        pieces = self._open
        if pieces is None:
            return
        arguments = call.get("args")
        if isinstance(arguments, dict):
            pieces.arguments.update(arguments)
        for piece in _list(call.get("partialArgs")):
            if isinstance(piece, dict):
                _fill(pieces, piece)
        if not call.get("willContinue"):
            self.close()

    def close(self) -> None:
        """Write collected arguments at the end of the answer."""
        if self._open is not None:
            text = json.dumps(self._open.arguments, ensure_ascii=False)
            if self._open.place is not None:
                self.writer.arguments(self._open.place, text, self.choice)
            elif not self.answered and self.structure is not None:
                self.writer.text(unwrapped(text) if self.structure.wrapped else text, self.choice)
                self.answered = True
            self._open = None

    def remember(self) -> None:
        """Store the signatures at the end of the answer, for clients that do not send them back."""
        if any(self._signatures):
            self.keep(self.writer.calls(self.choice), self._signatures)

    def _begin(self, call: dict[str, Any], name: str, signature: str | None) -> None:
        if self.structure is not None and name == self.structure.tool_name:
            self._open = _Pieces(None, {})
            return
        id = self._id(call.get("id"))
        name = name if self.names is None else self.names.back(name)
        extra = {"extra_content": {"google": {"thought_signature": signature}}} if signature else None
        self._signatures.append(signature)
        self.writer.tool_call(self.count, id, name, self.choice, extra)
        self._open = _Pieces(self.count, {})
        self.count += 1

    def _id(self, native: Any) -> str:
        """Return the provider's id, or a generated one if it is missing or repeated."""
        id = native if isinstance(native, str) else ""
        if not id or id in self._ids:
            id = generated_id(self.writer, self.count, self.choice)
        self._ids.add(id)
        return id


def _fill(pieces: _Pieces, piece: dict[str, Any]) -> None:
    """Set the value of a `partialArgs` item at its `jsonPath`; a continued string is appended."""
    path = _path(piece.get("jsonPath"))
    values = [piece[name] for name in _VALUES if name in piece]
    if not path or not values:
        return
    value = None if "nullValue" in piece else values[0]
    holder = _holder(pieces.arguments, path)
    if holder is None:
        return
    before = _at(holder, path[-1])
    if pieces.growing == path and isinstance(before, str) and isinstance(value, str):
        value = before + value
    _put(holder, path[-1], value)
    pieces.growing = path if piece.get("willContinue") else None


def _path(text: Any) -> tuple[str | int, ...]:
    if not isinstance(text, str):
        return ()
    steps = _STEP.findall(text[:_LONGEST_PATH].removeprefix("$"))
    return tuple(int(place) if place else name or single or double for name, place, single, double in steps)


def _holder(root: dict[str, Any], path: tuple[str | int, ...]) -> Any:
    """Return the container of the last step of `path`, which is created if absent; None if the path does not fit."""
    holder: Any = root
    for step, following in zip(path, path[1:], strict=False):
        if _at(holder, step) is None:
            _put(holder, step, [] if isinstance(following, int) else {})
        holder = _at(holder, step)
    fits = isinstance(holder, list) if isinstance(path[-1], int) else isinstance(holder, dict)
    return holder if fits else None


def _at(holder: Any, step: str | int) -> Any:
    if isinstance(holder, dict) and isinstance(step, str):
        return holder.get(step)
    if isinstance(holder, list) and isinstance(step, int) and step < len(holder):
        return holder[step]
    return None


def _put(holder: Any, step: str | int, value: Any) -> None:
    if isinstance(holder, dict) and isinstance(step, str):
        holder[step] = value
    elif isinstance(holder, list) and isinstance(step, int) and step < _LONGEST_LIST:
        holder.extend([None] * (step + 1 - len(holder)))
        holder[step] = value


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
