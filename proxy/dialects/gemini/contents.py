"""OpenAI's messages as Gemini's `systemInstruction` and `contents`.

System and developer messages are joined in order. Turns alternate between `user` and `model`, so that consecutive
messages of one side become one turn. Results of tools stand first in the turn that follows their calls, in whichever
order the client sends them, and are named after the call that has their `tool_call_id`.

A model that thinks wants its thought signatures back: Gemini 3 refuses a turn whose first call has none. They come from
the client (`extra_content.google.thought_signature`), else from `Recall`; a call of unknown origin gets the value by
which Google's documentation lets the check be skipped (ai.google.dev/gemini-api/docs/thought-signatures).
"""

from __future__ import annotations

import json
from typing import Any

from proxy.core.errors import InvalidRequest
from proxy.core.recall import Recall
from proxy.dialects.gemini.calls import recall_name
from proxy.dialects.gemini.media import media_part

SKIP_SIGNATURE = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="  # base64 of `skip_thought_signature_validator`

Part = dict[str, Any]


class Contents:
    """Messages added one by one; `system` and `turns` are what has come of them."""

    def __init__(self, recall: Recall) -> None:
        self.system: list[Part] = []
        self.turns: list[dict[str, Any]] = []
        self._recall = recall
        self._names: dict[str, str] = {}  # tool call id -> function
        self._results = 0  # at the beginning of the last turn

    def add(self, message: dict[str, Any], where: str) -> None:
        """One message; `where` names it. Raises `InvalidRequest` if it is none that can be said."""
        match message.get("role"):
            case "system" | "developer":
                self.system += [{"text": text} for text in _texts(message.get("content"), where) if text]
            case "user":
                self._turn("user", _parts(message.get("content"), where) or [{"text": ""}])
            case "assistant":
                self._turn("model", self._said(message, where))
            case "tool" | "function":
                self._result(message, where)
            case role:
                raise InvalidRequest(f"`{where}.role` is unknown: `{role}`.", param=f"{where}.role")

    def _turn(self, role: str, parts: list[Part]) -> None:
        if not parts:
            return
        if self.turns and self.turns[-1]["role"] == role:
            self.turns[-1]["parts"] += parts
        else:
            self.turns.append({"role": role, "parts": parts})
            self._results = 0

    def _said(self, message: dict[str, Any], where: str) -> list[Part]:
        """An assistant's message: what only Google can read, then text, then calls."""
        kept = message.get("google_parts")
        kept = [part for part in kept if isinstance(part, dict)] if isinstance(kept, list) else []
        parts = [{name: value for name, value in part.items() if name != "index"} for part in kept]
        parts += _parts(message.get("content"), where)
        if signature := _signature(message):
            texts = [part for part in parts if "text" in part] or [{"text": ""}]
            parts = parts or texts
            texts[-1]["thoughtSignature"] = signature
        calls = message.get("tool_calls") or []
        if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
            raise InvalidRequest(f"`{where}.tool_calls` must be a list of calls.", param=f"{where}.tool_calls")
        if isinstance(message.get("function_call"), dict):  # the older form
            calls = [*calls, {"function": message["function_call"]}]
        for place, call in enumerate(calls):
            parts.append(self._call(call, f"{where}.tool_calls[{place}]", first=place == 0))
        return parts

    def _call(self, call: dict[str, Any], where: str, *, first: bool) -> Part:
        function = call.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(function, dict) or not isinstance(name, str) or not name:
            raise InvalidRequest(f"`{where}.function.name` is missing.", param=where)
        part: Part = {"functionCall": {"name": name, "args": _arguments(function.get("arguments"))}}
        id = call.get("id")
        signature = _signature(call)
        if isinstance(id, str) and id:
            self._names[id] = name
            part["functionCall"]["id"] = id
            signature = signature or self._recall.find(recall_name(id))
        if signature or first:
            part["thoughtSignature"] = signature or SKIP_SIGNATURE
        return part

    def _result(self, message: dict[str, Any], where: str) -> None:
        id, name = message.get("tool_call_id"), message.get("name")
        if isinstance(id, str) and id in self._names:
            name = self._names[id]
        if not isinstance(name, str) or not name:
            text = f"`{where}.tool_call_id` is not the id of a tool call of an earlier message."
            raise InvalidRequest(text, param=f"{where}.tool_call_id")
        texts, media = _split(_parts(message.get("content"), where))
        result: Part = {"name": name, "response": _response("".join(texts))}
        if isinstance(id, str) and id:
            result["id"] = id
        if not self.turns or self.turns[-1]["role"] != "user":
            self.turns.append({"role": "user", "parts": []})
            self._results = 0
        self.turns[-1]["parts"].insert(self._results, {"functionResponse": result})
        self.turns[-1]["parts"] += media
        self._results += 1


def _parts(content: Any, where: str) -> list[Part]:
    """A message's content, without empty texts."""
    if isinstance(content, str):
        return [{"text": content}] if content else []
    found = []
    for place, part in enumerate(content if isinstance(content, list) else []):
        made = _part(part, f"{where}.content[{place}]")
        if made != {"text": ""}:
            found.append(made)
    return found


def _part(part: Any, where: str) -> Part:
    if isinstance(part, str):
        return {"text": part}
    part = part if isinstance(part, dict) else {}
    kind = part.get("type")
    text = part.get(kind) if kind in ("text", "refusal") else None
    if isinstance(text, str):
        return {"text": text}
    made = media_part(part, where)
    if made is None:
        raise InvalidRequest(f"`{where}` is of a type that this model does not take: `{kind}`.", param=where)
    return made


def _split(parts: list[Part]) -> tuple[list[str], list[Part]]:
    """The texts of a tool's result, and its media, which every model takes beside the result."""
    return [part["text"] for part in parts if "text" in part], [part for part in parts if "text" not in part]


def _texts(content: Any, where: str) -> list[str]:
    texts, media = _split(_parts(content, where))
    if media:
        raise InvalidRequest(f"`{where}.content` can only be text.", param=f"{where}.content")
    return texts


def _arguments(text: Any) -> dict[str, Any]:
    """A call's arguments. What a model once wrote that is no JSON object is kept as text."""
    if not isinstance(text, str) or not text.strip():
        return {}
    value = _json(text)
    return value if isinstance(value, dict) else {"arguments": text}


def _response(text: str) -> dict[str, Any]:
    """A tool's result: an object as it is, everything else under `result`."""
    value = _json(text)
    if isinstance(value, dict):
        return value
    return {"result": value if isinstance(value, list) else text}


def _json(text: str) -> Any:
    try:
        value = json.loads(text)
        json.dumps(value, allow_nan=False)  # `NaN` is read, but must not be written
    except (ValueError, RecursionError):
        return None
    return value


def _signature(holder: dict[str, Any]) -> str | None:
    extra = holder.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    found = google.get("thought_signature") if isinstance(google, dict) else None
    return found if isinstance(found, str) and found else None
