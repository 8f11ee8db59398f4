"""Translation of OpenAI's messages to Gemini's `systemInstruction` and `contents`.

System and developer messages are joined in order; `proxy/dialects/turns.py` determines the order of turns. Tool results
are first in the turn after their calls, in the order of the calls and with their names.

Thinking models require their thought signatures: Gemini 3 rejects a turn whose first call has none. They are taken
from the client (`proxy/dialects/gemini/places.py`), else from memory. Other calls get the documented value that skips
the check (ai.google.dev/gemini-api/docs/thought-signatures).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxy.core.errors import InvalidRequest
from proxy.core.json_text import strict_value_of
from proxy.dialects.assistant import Dropped, arguments_of, calls_of, parts_of, plain_text
from proxy.dialects.gemini.media import media_part
from proxy.dialects.gemini.places import google_of, placed, signature_of
from proxy.dialects.memory import ToolCall
from proxy.dialects.turns import NO_RESULT, PLACEHOLDER, History, ToolUse, TurnRules

Part = dict[str, Any]
Recalled = Callable[[int, list[ToolCall]], Any]  # a message's index and its calls -> the signatures of the calls

SKIP_SIGNATURE = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="  # base64 of `skip_thought_signature_validator`
_MEDIA = ("image_url", "video_url", "audio_url", "input_audio", "file")
_READ = ("images", "google_parts", "extra_content")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation in Gemini's format."""

    system: list[Part]
    turns: list[dict[str, Any]]
    dropped: tuple[str, ...] = ()


def read_contents(messages: Sequence[Mapping[str, Any]], recalled: Recalled = lambda place, calls: None) -> Prompt:
    """Translate a conversation. Raises `InvalidRequest` that names a message with unsupported content.

    Gemini requires a turn: a conversation of instructions only is sent as a user turn.
    """
    reader = _Reader(recalled)
    for place, message in enumerate(messages):
        reader.add(message, place)
    if messages[-1].get("role") in ("system", "developer"):
        reader.history.instructed()
    dropped = tuple(reader.dropped.names)
    if reader.history.is_empty:
        return Prompt([], [{"role": "user", "parts": reader.system or [{"text": PLACEHOLDER}]}], dropped)
    turns = [
        {"role": "model" if turn.role == "assistant" else "user", "parts": turn.blocks}
        for turn in reader.history.legal_turns(_RULES)
    ]
    return Prompt(reader.system, turns, dropped)


class _Reader:
    def __init__(self, recalled: Recalled) -> None:
        self.system: list[Part] = []
        self.history = History()
        self.dropped = Dropped()
        self._recalled = recalled

    def add(self, message: Mapping[str, Any], place: int) -> None:
        role, where = message.get("role"), f"messages[{place}]"
        if message.get("name") and role not in ("function", "tool"):
            self.dropped.member("name")
        match role:
            case "system" | "developer":
                self.system += [{"text": text} for text in _texts(message.get("content"), where) if text.strip()]
            case "user":
                self.history.user(_parts(message.get("content"), where))
            case "assistant":
                self._assistant(message, where, place)
            case "tool" | "function":
                self._result(message, where)
            case _:
                raise InvalidRequest(f"`{where}.role` is unknown: `{role}`.", param=f"{where}.role")

    def _assistant(self, message: Mapping[str, Any], where: str, place: int) -> None:
        if (plain := plain_text(message)) is not None:
            self.history.assistant([{"text": plain}] if plain else [])
            return
        content = parts_of(message, self.dropped, _MEDIA)
        text = "".join(part["text"] for part in content if part["type"] == "text")
        media = [
            converted
            for part in content
            if part["type"] != "text" and (converted := self._media(part, where)) is not None
        ]
        self.dropped.members(message, _READ)
        calls = calls_of(message, where)
        uses = [self.history.tool_use(call.id, call.name, call.id or "call") for call in calls]
        google, images = _google_parts(message), self._images(message, where)
        called = self._calls(message, calls, uses, place)
        notes = google_of(message).get("parts")
        if notes is not None:
            parts = None if media else placed(notes, text, {"part": google, "image": images, "call": called})
            if parts is not None:
                self.history.assistant(parts, uses)
                return
            google, images, called = _unsigned(google), _unsigned(images), _skipping(_unsigned(called))
        spoken = [{"text": text}] if text else []
        if (signature := signature_of(message)) and notes is None:
            spoken = [{"text": text, "thoughtSignature": signature}]
        self.history.assistant([*google, *spoken, *media, *images, *called], uses)

    def _calls(self, message: Mapping[str, Any], calls: list[ToolCall], uses: list[ToolUse], place: int) -> list[Part]:
        """Return the calls with their signatures, from the client or from memory."""
        if not calls:
            return []
        raw_calls = message.get("tool_calls") or [{}]
        signatures = [signature_of(call) for call in raw_calls]
        if not any(signatures):
            found = self._recalled(place, calls)
            signatures = found if isinstance(found, list) and len(found) == len(calls) else signatures
        parts = []
        for call, use, signature in zip(calls, uses, signatures, strict=True):
            function: Part = {"name": call.name, "args": arguments_of(call), **_id(use)}
            parts.append({"functionCall": function, **({"thoughtSignature": signature} if signature else {})})
        return _skipping(parts)

    def _images(self, message: Mapping[str, Any], where: str) -> list[Part]:
        """Return the images of an earlier answer."""
        images = message.get("images")
        found = []
        for image in images if isinstance(images, list) else ():
            converted = self._media({**image, "type": "image_url"}, where) if isinstance(image, dict) else None
            if converted is not None:
                signature = signature_of(image)
                found.append({**converted, "thoughtSignature": signature} if signature else converted)
        return found

    def _media(self, part: Mapping[str, Any], where: str) -> Part | None:
        """Translate a media part of an answer; unsupported parts of other providers are dropped."""
        try:
            return media_part(dict(part), where)
        except InvalidRequest:
            self.dropped.part(part.get("type"))
            return None

    def _result(self, message: Mapping[str, Any], where: str) -> None:
        parts = _parts(message.get("content"), where)
        use = self.history.answered(message)
        if use is None:  # without its call, Gemini would reject it as a result
            self.history.user(parts)
            return
        texts, use.beside = _split(parts)
        use.result = _response_part(use, _response("".join(texts)))


def _id(use: ToolUse) -> Part:
    return {"id": use.id} if use.client_id else {}


def _response_part(use: ToolUse, response: dict[str, Any]) -> Part:
    return {"functionResponse": {"name": use.name, "response": response, **_id(use)}}


def _is_blank(part: Part) -> bool:
    return len(part) == 1 and "text" in part and not part["text"].strip()


_RULES = TurnRules(
    text=lambda text: {"text": text},
    no_result=lambda use: _response_part(use, {"error": NO_RESULT}),
    is_blank=_is_blank,
    blank_user=" ",  # Gemini rejects an empty text, but not a blank one
)


def _google_parts(message: Mapping[str, Any]) -> list[Part]:
    """Return the message's `google_parts` without the index that Signalbox added, and without nulls.

    Calls and results are omitted, because they would not match each other.
    """
    native = message.get("google_parts")
    parts = [part for part in native if _is_kept(part)] if isinstance(native, list) else []
    return [{name: value for name, value in part.items() if name != "index" and value is not None} for part in parts]


def _is_kept(part: Any) -> bool:
    if not isinstance(part, dict) or part.keys() & {"functionCall", "functionResponse"}:
        return False
    return bool(part.keys() - {"index", "thought", "thoughtSignature"})


def _unsigned(parts: list[Part]) -> list[Part]:
    return [{name: value for name, value in part.items() if name != "thoughtSignature"} for part in parts]


def _skipping(calls: list[Part]) -> list[Part]:
    """Return the calls; the first one gets a signature if it has none."""
    return [{"thoughtSignature": SKIP_SIGNATURE, **calls[0]}, *calls[1:]] if calls else []


def _parts(content: Any, where: str) -> list[Part]:
    """Return a message's content without empty texts."""
    if isinstance(content, str):
        return [{"text": content}] if content else []
    found = []
    for place, part in enumerate(content if isinstance(content, list) else []):
        converted = _part(part, f"{where}.content[{place}]")
        if converted != {"text": ""}:
            found.append(converted)
    return found


def _part(part: Any, where: str) -> Part:
    if isinstance(part, str):
        return {"text": part}
    part = part if isinstance(part, dict) else {}
    kind = part.get("type")
    text = part.get(kind) if kind in ("text", "refusal") else None
    if isinstance(text, str):
        return {"text": text}
    converted = media_part(part, where)
    if converted is None:
        raise InvalidRequest(f"`{where}` has a type that this model does not support: `{kind}`.", param=where)
    return converted


def _split(parts: list[Part]) -> tuple[list[str], list[Part]]:
    """Return the texts of a tool's result, and its media, which are sent after the result."""
    return [part["text"] for part in parts if "text" in part], [part for part in parts if "text" not in part]


def _texts(content: Any, where: str) -> list[str]:
    texts, media = _split(_parts(content, where))
    if media:
        raise InvalidRequest(f"`{where}.content` can only be text.", param=f"{where}.content")
    return texts


def _response(text: str) -> dict[str, Any]:
    """Return a tool's result: an object unchanged, other values as the member `result`."""
    value = strict_value_of(text) if text.lstrip()[:1] in ("{", "[") else None
    if isinstance(value, dict):
        return value
    return {"result": value if isinstance(value, list) else text}
