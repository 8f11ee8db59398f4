"""One choice of a chat as a candidate of Google's answers.

Text and thoughts pass as they come. Calls are written with the finish, because their arguments are an object, which is
known only when it is whole; calls that never became whole are not written, and the finish says so. What the model needs
back with the next turn is sealed into the `thoughtSignature` of the call that follows it, where every client keeps it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.core.dialects import DialectName
from proxy.core.json_text import strict_object_of
from proxy.surfaces.carriers import Piece, PieceReader, text_piece
from proxy.surfaces.generate.grounding import grounding
from proxy.surfaces.generate.signatures import signature_of, wrapped
from proxy.surfaces.sources import image_data

Part = dict[str, Any]
Members = dict[str, Any]
Seal = Callable[[DialectName, Members], str]

_PLAIN = frozenset({"role", "content", "reasoning_content", "refusal"})  # members without signatures
_FINISHES = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "function_call": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
}
_REASONING = ("reasoning_content", "reasoning")
_NO_ARGUMENTS = ("", "null")
_MALFORMED = "The arguments of a function call are not a JSON object."


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    signature: str | None = None  # Google's own
    carried: list[Piece] = field(default_factory=list)


class Candidate:
    """One candidate so far. `seal` makes a carrier; `dialect` is that of the target that answers."""

    def __init__(self, seal: Seal, dialect: str, *, thoughts: bool) -> None:
        self.finish: str | None = None  # OpenAI's finish reason
        self._seal = seal
        self._dialect = dialect
        self._thoughts = thoughts  # the client has asked for them
        self._calls: dict[int, _Call] = {}
        self._pieces = PieceReader()
        self._pending: list[Piece] = []  # that belong to the next call
        self._reasoning: list[str] = []
        self._reasoning_name = ""
        self._signature: str | None = None  # Google's own, of the text
        self._logprobs: list[dict[str, Any]] = []
        self._text: list[str] = []
        self._annotations: list[dict[str, Any]] = []
        self._searches: list[dict[str, Any]] = []

    def take(self, delta: Mapping[str, Any]) -> list[Part]:
        """Read a delta, or a whole message; return its texts and files."""
        content = delta.get("content")
        if len(delta) == 1 and isinstance(content, str):
            self._text.append(content)
            return [{"text": content}] if content else []
        texts = [*_texts(content), *_string(delta.get("refusal"))]
        self._text += [part["text"] for part in texts]
        parts = [*self._thought(delta), *texts]
        if not delta.keys() <= _PLAIN:
            self._keep(delta)
            self._annotations += _objects(delta.get("annotations"))
            self._searches += _objects(delta.get("web_searches"))
            parts += _files(delta)
            for place, entry in enumerate(_objects(delta.get("tool_calls"))):
                self._call(entry, place)
            if isinstance(legacy := delta.get("function_call"), dict):
                self._call({"index": 0, "function": legacy}, 0)
        return parts

    def take_logprobs(self, logprobs: Any) -> None:
        """Read the log probabilities of tokens."""
        if isinstance(logprobs, dict):
            self._logprobs += _objects(logprobs.get("content"))

    def last(self) -> dict[str, Any]:
        """Return the last members of the candidate: the calls and the finish."""
        self._pending += [piece for piece in self._pieces.end() if piece[0] != "gemini"]
        if self._calls:
            [*_, call] = self._calls.values()
            call.carried += self._pending
            self._pending = []
        calls, whole = self._whole_calls()
        finish = _FINISHES.get(self.finish or "stop", "OTHER")
        last: dict[str, Any] = {"content": {"parts": calls or [self._closing()], "role": "model"}}
        if not whole and finish == "STOP":
            last |= {"finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": _MALFORMED}
        else:
            last["finishReason"] = finish
        if self._logprobs:
            last["logprobsResult"] = _logprobs(self._logprobs)
        if self._annotations or self._searches:
            sources = grounding(self._annotations, self._searches, "".join(self._text))
            last |= {"groundingMetadata": sources} if sources else {}
        return last

    def _thought(self, delta: Mapping[str, Any]) -> Iterator[Part]:
        for name in _REASONING:
            text = delta.get(name)
            if isinstance(text, str) and text:
                self._reasoning.append(text)
                self._reasoning_name = name
                if self._thoughts:
                    yield {"text": text, "thought": True}
                return

    def _keep(self, delta: Mapping[str, Any]) -> None:
        """Keep what the model needs back; Google's own signatures pass as they are."""
        self._pending += [piece for piece in self._pieces.feed(delta) if piece[0] != "gemini"]
        self._signature = signature_of(delta) or self._signature

    def _call(self, entry: Mapping[str, Any], place: int) -> None:
        function = entry.get("function")
        function = function if isinstance(function, dict) else {}
        id, name, fragment = entry.get("id"), function.get("name"), function.get("arguments")
        index = entry.get("index")
        if not isinstance(index, int):  # a whole message, or an upstream without indices
            index = len(self._calls) if id or not self._calls else max(self._calls)
        call = self._calls.get(index)
        if call is not None and isinstance(id, str) and id and call.id not in ("", id):  # a repeated index
            index = max(self._calls) + 1
            call = None
        if call is None:
            call = self._calls[index] = _Call()
        call.carried += self._pending
        self._pending = []
        if isinstance(id, str) and id:
            call.id = id
        if isinstance(name, str) and name and not call.name:
            call.name = name
        if isinstance(fragment, str):
            call.arguments.append(fragment)
        call.signature = signature_of(entry) or call.signature

    def _whole_calls(self) -> tuple[list[Part], bool]:
        """Return the calls, and whether all are whole."""
        found: list[Part] = []
        whole = True
        for call in self._calls.values():
            text = "".join(call.arguments)
            arguments = {} if text.strip() in _NO_ARGUMENTS else strict_object_of(text)
            if not call.name or arguments is None:
                whole = False
                continue
            function = {**({"id": call.id} if call.id else {}), "name": call.name, "args": arguments}
            signature = self._sealed(call.carried) or call.signature
            if signature is None and not found:
                signature = self._sealed(self._unsigned())
            found.append({"functionCall": function, **({"thoughtSignature": signature} if signature else {})})
        return found, whole

    def _closing(self) -> Part:
        """Return the last part of an answer without calls: it has what is still to be kept."""
        signature = self._sealed(self._pending) or self._signature
        return {"text": "", **({"thoughtSignature": signature} if signature else {})}

    def _unsigned(self) -> list[Piece]:
        """Return reasoning without a signature, if models of this dialect need it back with the results of tools.

        Without any, an empty carrier shows that another model than Google's made the call: Gemini 3 rejects calls
        without a signature, unless a value that skips the check takes its place (`without_carriers`).
        """
        piece = text_piece(self._dialect, "".join(self._reasoning), self._reasoning_name)
        if piece is None and self._dialect != "gemini":
            piece = "openai", {}
        return [] if piece is None else [piece]

    def _sealed(self, carried: list[Piece]) -> str | None:
        """Return a `thoughtSignature` with these pieces; `None` without any."""
        if not carried:
            return None
        family = carried[-1][0]
        return wrapped(self._seal(family, _merged([members for each, members in carried if each == family])))


def _merged(pieces: list[Members]) -> dict[str, Any]:
    """Return the members of several pieces as one."""
    merged: dict[str, Any] = {}
    for members in pieces:
        for name, value in members.items():
            before = merged.get(name)
            if isinstance(before, list) and isinstance(value, list):
                merged[name] = before + value
            elif isinstance(before, dict) and isinstance(value, dict):
                merged[name] = before | value
            elif isinstance(before, str) and isinstance(value, str):
                merged[name] = before + value
            else:
                merged[name] = value
    return merged


def _texts(content: Any) -> list[Part]:
    """Return the texts of a message's content, which some providers send as a list of parts."""
    if not isinstance(content, list):
        return _string(content)
    return [part for item in _objects(content) for part in _string(item.get("text"))]


def _string(text: Any) -> list[Part]:
    return [{"text": text}] if isinstance(text, str) and text else []


def _files(delta: Mapping[str, Any]) -> list[Part]:
    """Return Google's own parts, and images, as parts."""
    googles = _objects(delta.get("google_parts"))
    kept = [{name: value for name, value in part.items() if name != "index"} for part in googles]
    images = [_image(image) for image in _objects(delta.get("images"))]
    return [part for part in (*kept, *images) if part]


def _image(image: Mapping[str, Any]) -> Part:
    inline = image_data(image)
    if inline is None:
        return {}
    signature = signature_of(image)
    part = {"inlineData": {"mimeType": inline[0], "data": inline[1]}}
    return part | ({"thoughtSignature": signature} if signature else {})


def _logprobs(tokens: list[dict[str, Any]]) -> dict[str, Any]:
    """Return OpenAI's log probabilities as Google's `logprobsResult`."""
    tops = [_objects(token.get("top_logprobs")) for token in tokens]
    return {
        "topCandidates": [{"candidates": [_token(token) for token in top]} for top in tops],
        "chosenCandidates": [_token(token) for token in tokens],
    }


def _token(token: Mapping[str, Any]) -> dict[str, Any]:
    return {"token": token.get("token"), "logProbability": token.get("logprob")}


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
