"""Google's `systemInstruction` and `contents` as the messages of a chat.

Consecutive contents of the model are one assistant message, as are the results after them tool messages in front of the
rest of the user's turn. Calls without ids get ids, and results without ids belong to the first call of their name that
has no result yet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proxy.core.errors import InvalidRequest
from proxy.core.json_text import compact_nulled
from proxy.surfaces.carriers import Carried, restore
from proxy.surfaces.generate.fields import (
    Members,
    flag_of,
    members_of,
    needed_text,
    object_of,
    objects_of,
    text_of,
    wrong,
)
from proxy.surfaces.generate.media import file_part, inline_part
from proxy.surfaces.generate.signatures import extra, signs, unwrapped

Message = dict[str, Any]
Unseal = Callable[[str], Carried | None]

_RESULT = ("result", "output")  # members of a result that is only a text
_BETWEEN = "\n\n"  # texts that become one
_GOOGLE_ONLY = ("executableCode", "codeExecutionResult", "toolCall", "toolResponse")
_FILES = ("inlineData", "fileData")  # that a model has made
_IGNORED = ("videoMetadata", "mediaResolution", "partMetadata")


def read_system(body: Members, where: str = "systemInstruction") -> Message | None:
    """Return the instructions as a system message; `None` without any text."""
    value = body.get("systemInstruction")
    if value is None or isinstance(value, str):
        text = value
    else:
        content = members_of(value, where)
        texts = [text_of(part, "text", at) for at, part in objects_of(content, "parts", where)]
        if None in texts:
            raise InvalidRequest(f"`{where}.parts` can only be text.", param=f"{where}.parts")
        text = _BETWEEN.join([text for text in texts if text])
    return {"role": "system", "content": text} if text else None


def read_contents(
    body: Members, unseal: Unseal, dropped: dict[str, None]
) -> tuple[list[Message], InvalidRequest | None]:
    """Return the messages, and why only Google's own models can read them, if that is so.

    Names of what the messages lack are added to `dropped`. Raises `InvalidRequest`.
    """
    reader = _Reader(unseal, dropped)
    contents = body.get("contents")
    if isinstance(contents, str):
        return [{"role": "user", "content": contents}], None
    for where, content in objects_of(body, "contents"):
        reader.add(content, where)
    reader.close()
    if not reader.messages:
        raise InvalidRequest("`contents` is missing; it must be a list with at least one content.", param="contents")
    return reader.messages, reader.refused


class _Reader:
    def __init__(self, unseal: Unseal, dropped: dict[str, None]) -> None:
        self.messages: list[Message] = []
        self.refused: InvalidRequest | None = None
        self._unseal = unseal
        self._dropped = dropped
        self._open: list[tuple[str, str]] = []  # id and name of calls without a result
        self._ids: set[str] = set()
        self._answer: Message | None = None  # the assistant message that is being read
        self._carried: list[Carried] = []

    def add(self, content: Members, where: str) -> None:
        """Read one content."""
        role = text_of(content, "role", where) or "user"
        parts = objects_of(content, "parts", where)
        if role == "model":
            if self._answer is None:
                self._answer = {"role": "assistant", "content": None}
                self.messages.append(self._answer)
            for at, part in parts:
                self._model_part(self._answer, part, at)
        elif role in ("user", "function", "tool"):
            self.close()
            self._user(parts)
        else:
            raise InvalidRequest(f"`{where}.role` must be `user` or `model`.", param=f"{where}.role")

    def close(self) -> None:
        """End the assistant message that is being read: its calls are known."""
        answer, self._answer = self._answer, None
        if answer is not None:
            for carried in self._carried:
                restore(answer, carried)
            self._carried = []
            if answer["content"] is None and "tool_calls" not in answer:
                answer["content"] = ""

    def _user(self, parts: list[tuple[str, dict[str, Any]]]) -> None:
        content: list[dict[str, Any]] = []
        results = False
        for where, part in parts:
            if "functionResponse" in part:
                results = True
                content += self._result(part, where)
            else:
                converted = self._user_part(part, where)
                content += [converted] if converted is not None else []
        if content or not results:
            texts = [part["text"] for part in content if part["type"] == "text"]
            plain = len(texts) == len(content)  # as a string, which every provider accepts
            self.messages.append({"role": "user", "content": _BETWEEN.join(texts) if plain else content})

    def _user_part(self, part: Members, where: str) -> dict[str, Any] | None:
        self._ignore(part)
        if "text" in part:
            return {"type": "text", "text": text_of(part, "text", where)}
        if "inlineData" in part:
            return inline_part(part, where)
        if "fileData" in part:
            converted = file_part(part, where)
            if "file_id" in converted.get("file", {}):
                self._refuse(f"{where}.fileData.fileUri")
            return converted
        if not self._is_googles(part):
            raise wrong(where, "a text, a file or a function's response")
        return None

    def _result(self, part: Members, where: str) -> list[dict[str, Any]]:
        """Add the message of a function's result; return the files in it, which follow in a message of the user."""
        where = f"{where}.functionResponse"
        result = object_of(part, "functionResponse")
        response = result.get("response", {})
        if not isinstance(response, dict):
            raise wrong(f"{where}.response", "an object")
        id, name = text_of(result, "id", where), text_of(result, "name", where)
        call = self._answered(id, name, where)
        self.messages.append({"role": "tool", "tool_call_id": call, "content": _result_text(response)})
        files = [self._user_part(item, at) for at, item in objects_of(result, "parts", where)]
        return [file for file in files if file is not None]

    def _answered(self, id: str | None, name: str | None, where: str) -> str:
        """Return the id of the call that a result belongs to; it is not open any more."""
        fitting = [call for call in self._open if (call[0] == id if id else call[1] == name)]
        fitting = fitting or ([call for call in self._open if call[1] == name] if id else [])
        if not fitting:
            message = f"`{where}` follows no function call with its `id` and `name` that still has no response."
            raise InvalidRequest(message, param=where)
        self._open.remove(fitting[0])
        return fitting[0][0]

    def _model_part(self, answer: Message, part: Members, where: str) -> None:
        self._ignore(part)
        signature = text_of(part, "thoughtSignature", where)
        holder: Message = answer
        if "functionCall" in part:
            holder = self._call(part, where)
            answer.setdefault("tool_calls", []).append(holder)
        elif "text" in part:
            text = text_of(part, "text", where) or ""
            if not flag_of(part, "thought", where):
                answer["content"] = (answer["content"] or "") + text
        elif any(name in part for name in _FILES):
            self._drop(next(name for name in _FILES if name in part))
        elif not self._is_googles(part) and not signature and "thought" not in part:
            raise wrong(where, "a text or a function call")
        if signature:
            self._sign(holder, signature)

    def _sign(self, holder: Message, signature: str) -> None:
        """Keep a signature: what it carries, or Google's own beside the text or the call that it belongs to."""
        carrier = unwrapped(signature)
        if carrier is None:
            if signs(signature):
                holder.update(extra(signature))
            return
        carried = self._unseal(carrier)
        if carried is None:
            self._drop("thoughtSignature")
        else:
            self._carried.append(carried)

    def _call(self, part: Members, where: str) -> Message:
        where = f"{where}.functionCall"
        call = object_of(part, "functionCall")
        name, arguments = needed_text(call, "name", where), call.get("args", {})
        if not isinstance(arguments, dict):
            raise wrong(f"{where}.args", "an object")
        id = self._unique(text_of(call, "id", where))
        self._open.append((id, name))
        function = {"name": name, "arguments": compact_nulled(arguments).decode()}
        return {"id": id, "type": "function", "function": function}

    def _unique(self, id: str | None) -> str:
        """Return the id of a call; a new one if it is missing or another call has it."""
        number = len(self._ids)
        while not id or id in self._ids:
            number += 1
            id = f"call_{number}"
        self._ids.add(id)
        return id

    def _is_googles(self, part: Members) -> bool:
        """Return whether a part is of Google's own tools, which other models do not have."""
        names = [name for name in _GOOGLE_ONLY if name in part]
        for name in names:
            self._drop(name)
        return bool(names)

    def _ignore(self, part: Members) -> None:
        for name in _IGNORED:
            if name in part:
                self._drop(name)

    def _refuse(self, where: str) -> None:
        message = f"`{where}` is in Google's storage; send the data or another URL, or choose a Gemini model."
        self.refused = InvalidRequest(message, param=where)

    def _drop(self, name: str) -> None:
        self._dropped[f"contents.{name}"] = None


def _result_text(response: dict[str, Any]) -> str:
    """Return a function's result as the content of a tool message."""
    if len(response) == 1:
        [(name, value)] = response.items()
        if name in _RESULT and isinstance(value, str):
            return value
    return compact_nulled(response).decode()
