"""Replacement of names that a target rejects: in the request, and back in the answer.

It applies to names of tools and of their arguments' members. A replacement depends only on the names in the request,
so no state is needed for later turns. If the target accepts all names, the cost is one check per tool name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.dialects.rewriter import MemberRewriter
from proxy.dialects.schema.drafts import DEFINITIONS, LISTS, NAMED

_ODD = re.compile(r"[^a-zA-Z0-9_-]+")
_DIGEST = 8  # characters
_DEEPEST = 128  # levels of a schema; the body's limit
_NO_SCHEMAS = frozenset({"enum", "const", "default", "examples", "example"})


@dataclass(frozen=True, slots=True)
class Alphabet:
    """The names that a target accepts; `longest` is the maximum length."""

    pattern: re.Pattern[str]
    longest: int = 64

    def takes(self, name: str) -> bool:
        """Whether the target accepts a name."""
        return self.pattern.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Renaming:
    """Names and their replacements, one to one."""

    there: Mapping[str, str]
    back: Mapping[str, str]

    def arguments(self, value: Any) -> Any:
        """Return a JSON value with replaced member names."""
        return _renamed(value, self.there)


def replacements(names: Iterable[str], alphabet: Alphabet, reserved: Collection[str] = ()) -> dict[str, str]:
    """Return a unique replacement for each name that the target rejects or has reserved."""
    distinct = list(dict.fromkeys(names))
    odd = [name for name in distinct if name in reserved or not alphabet.takes(name)]
    if not odd:
        return {}
    taken = {*distinct, *reserved}
    replaced: dict[str, str] = {}
    for name in odd:
        replaced[name] = _replacement(name, alphabet, taken)
        taken.add(replaced[name])
    return replaced


def _replacement(name: str, alphabet: Alphabet, taken: set[str]) -> str:
    """Return the accepted letters of `name`, with its digest if they are too many, none, or not unique."""
    letters = _ODD.sub("_", name)
    letters = letters if alphabet.takes(letters[:1]) else f"_{letters}"
    is_telling = len(letters.replace("_", "")) * 2 >= len(name)
    if is_telling and len(letters) <= alphabet.longest and letters not in taken:
        return letters
    number = 0
    while True:
        seed = f"{name}/{number}" if number else name
        digest = hashlib.sha256(seed.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
        replacement = f"{letters[: alphabet.longest - _DIGEST - 1]}_{digest}"
        if replacement not in taken:
            return replacement
        number += 1


def renaming_of(schema: Any, alphabet: Alphabet) -> Renaming | None:
    """Return the replacements for the member names of a schema; None if none are needed."""
    there = replacements(member_names(schema), alphabet)
    return Renaming(there, {new: name for name, new in there.items()}) if there else None


def member_names(schema: Any) -> Iterator[str]:
    """Yield the names of object members in a schema."""
    pending = [schema]
    while pending:
        node = pending.pop()
        if not isinstance(node, dict):
            continue
        for keyword, value in node.items():
            if keyword == "required":
                yield from _strings(value)
            elif keyword in ("properties", "dependentSchemas", "dependentRequired", "dependencies"):
                if isinstance(value, dict):
                    yield from value
                    pending += value.values()
                    for names in value.values():
                        yield from _strings(names)
            elif isinstance(value, dict) and keyword not in _NO_SCHEMAS:
                pending += value.values() if keyword in NAMED or keyword in DEFINITIONS else (value, *value.values())
            elif isinstance(value, list) and (keyword in LISTS or keyword == "items"):
                pending += value


def _strings(value: Any) -> Iterator[str]:
    return (item for item in value if isinstance(item, str)) if isinstance(value, list) else iter(())


def _renamed(value: Any, names: Mapping[str, str], depth: int = 0) -> Any:
    if depth > _DEEPEST:
        return value
    if isinstance(value, dict):
        return {names.get(name, name): _renamed(inner, names, depth + 1) for name, inner in value.items()}
    return [_renamed(inner, names, depth + 1) for inner in value] if isinstance(value, list) else value


@dataclass(slots=True)
class ToolNames:
    """The names of one request's tools, for one target. `members` None: the target accepts any member name."""

    tools: Alphabet
    members: Alphabet | None = None
    _there: dict[str, str] = field(default_factory=dict)
    _back: dict[str, str] = field(default_factory=dict)
    _schemas: dict[str, Any] = field(default_factory=dict)
    _renamings: dict[str, Renaming | None] = field(default_factory=dict)

    def add(self, functions: Iterable[tuple[str, Any]], native: Collection[str] = ()) -> None:
        """Declare functions, each with the schema of its arguments, and the names of the target's own tools.

        Of functions with the same name, the first is used. A function with the name of a target's own tool is renamed.
        """
        for name, schema in functions:
            self._schemas.setdefault(name, schema)
        self._there = replacements(self._schemas, self.tools, native)
        self._back = {new: name for name, new in self._there.items()}

    @property
    def replaces(self) -> bool:
        """Whether a declared tool is renamed for the target."""
        return bool(self._back)

    def again(self) -> ToolNames:
        """Return a copy for another request with the same tools, none of which is renamed."""
        return ToolNames(self.tools, self.members, _schemas=self._schemas, _renamings=self._renamings)

    def there(self, name: str) -> str:
        """Return the target's name of a tool, which may no longer be declared."""
        if name in self._schemas or self.tools.takes(name):
            return self._there.get(name, name)
        if name not in self._there:
            self._there[name] = _replacement(name, self.tools, {*self._schemas, *self._there.values()})
        return self._there[name]

    def back(self, name: str) -> str:
        """Return the client's name of a tool."""
        return self._back.get(name, name)

    def renaming(self, name: str) -> Renaming | None:
        """Return the replacements in the arguments of a tool; `name` is the client's."""
        if self.members is None or name not in self._schemas:
            return None
        if name not in self._renamings:
            self._renamings[name] = renaming_of(self._schemas[name], self.members)
        return self._renamings[name]

    def applied(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the body with the target's names; the same object if nothing is replaced."""
        out: dict[str, Any] = {}
        history = body.get("messages")
        messages = [self._message(message) for message in history] if isinstance(history, list) else []
        if any(new is not old for new, old in zip(messages, history or (), strict=False)):
            out["messages"] = messages
        if self._back:
            if isinstance(body.get("tools"), list):
                out["tools"] = [self._named(tool) if "function" in tool else tool for tool in body["tools"]]
            if isinstance(body.get("functions"), list):
                out["functions"] = [self._named(function) for function in body["functions"]]
            for member in ("tool_choice", "function_call"):
                if isinstance(body.get(member), dict):
                    out[member] = self._choice(body[member])
        return {**body, **out} if out else body

    def _message(self, message: Any) -> Any:
        if not isinstance(message, dict):
            return message
        out: dict[str, Any] = {}
        calls = message.get("tool_calls")
        if isinstance(calls, list) and calls:
            renamed = [self._call(call) for call in calls]
            if any(new is not old for new, old in zip(renamed, calls, strict=True)):
                out["tool_calls"] = renamed
        function, name = message.get("function_call"), message.get("name")
        if isinstance(function, dict) and (called := self._function(function)) is not function:
            out["function_call"] = called
        if message.get("role") in ("tool", "function") and isinstance(name, str) and self.there(name) != name:
            out["name"] = self.there(name)
        return {**message, **out} if out else message

    def _call(self, call: Any) -> Any:
        function = call.get("function") if isinstance(call, dict) else None
        renamed = self._function(function) if isinstance(function, dict) else function
        return call if renamed is function else {**call, "function": renamed}

    def _function(self, function: Mapping[str, Any]) -> Mapping[str, Any]:
        """Replace a call's name and arguments."""
        name, arguments = function.get("name"), function.get("arguments")
        if not isinstance(name, str):
            return function
        renaming = self.renaming(name)
        if renaming is not None and isinstance(arguments, str):
            rewriter = MemberRewriter(renaming.there)
            arguments = rewriter.feed(arguments) + rewriter.rest()
        elif renaming is not None:
            arguments = renaming.arguments(arguments)
        there = self.there(name)
        return function if there == name and renaming is None else {**function, "name": there, "arguments": arguments}

    def _choice(self, choice: dict[str, Any]) -> dict[str, Any]:
        allowed = choice.get("allowed_tools")
        out: dict[str, Any] = self._named(choice)
        if isinstance(allowed, dict):
            out = {**out, "allowed_tools": self._choice(allowed)}
        if isinstance(choice.get("tools"), list):
            out = {**out, "tools": [self._named(tool) for tool in choice["tools"]]}
        return out

    def _named(self, holder: Any) -> Any:
        """Replace the name in a tool, or in a reference to one: `{"function": {"name"}}` or `{"name"}`."""
        function = holder.get("function") if isinstance(holder, dict) else None
        if isinstance(function, dict):
            return {**holder, "function": self._named(function)}
        name = holder.get("name") if isinstance(holder, dict) else None
        return {**holder, "name": self.there(name)} if isinstance(name, str) else holder


def functions_of(body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield names and schemas of a body's `tools` and legacy `functions`; malformed ones are skipped."""
    for tool in _objects(body.get("tools")):
        function = tool.get("function")
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            yield function["name"], function.get("parameters")
    for function in _objects(body.get("functions")):
        if isinstance(function.get("name"), str):
            yield function["name"], function.get("parameters")


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    return (item for item in value if isinstance(item, dict)) if isinstance(value, list) else iter(())
