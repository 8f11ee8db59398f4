"""Names that a target refuses: replaced in the request, and put back in the answer.

Tools have names, and so have the members of their arguments. A replacement follows from the names of the request
alone, so that neither the history nor the answer needs a memory of it. A request whose names the target takes costs one
look at each tool's name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.dialects.rewriter import MemberRewriter
from proxy.dialects.schema.drafts import LISTS, NAMED, SHELVES

_ODD = re.compile(r"[^a-zA-Z0-9_-]+")
_DIGEST = 8  # characters
_DEEPEST = 128  # no schema is deeper
_NO_SCHEMAS = frozenset({"enum", "const", "default", "examples", "example"})


@dataclass(frozen=True, slots=True)
class Alphabet:
    """The names that a target takes; none is longer than `longest`."""

    pattern: re.Pattern[str]
    longest: int = 64

    def takes(self, name: str) -> bool:
        """Whether the target takes a name as it is."""
        return self.pattern.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Renaming:
    """Names and their replacements, one to one."""

    there: Mapping[str, str]
    back: Mapping[str, str]

    def arguments(self, value: Any) -> Any:
        """A JSON value with the names of its members replaced."""
        return _renamed(value, self.there)


def replacements(names: Iterable[str], alphabet: Alphabet, reserved: Collection[str] = ()) -> dict[str, str]:
    """A replacement for each name that the target refuses or has given away, different from all names."""
    distinct = list(dict.fromkeys(names))
    odd = [name for name in distinct if name in reserved or not alphabet.takes(name)]
    if not odd:
        return {}
    taken = {*distinct, *reserved}
    found: dict[str, str] = {}
    for name in odd:
        found[name] = _replacement(name, alphabet, taken)
        taken.add(found[name])
    return found


def _replacement(name: str, alphabet: Alphabet, taken: set[str]) -> str:
    """The name's own letters; with a digest of it where they are too many, too few, or another name."""
    letters = _ODD.sub("_", name)
    letters = letters if alphabet.takes(letters[:1]) else f"_{letters}"
    is_telling = len(letters.replace("_", "")) * 2 >= len(name)
    if is_telling and len(letters) <= alphabet.longest and letters not in taken:
        return letters
    number = 0
    while True:
        seed = f"{name}/{number}" if number else name
        digest = hashlib.sha256(seed.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
        found = f"{letters[: alphabet.longest - _DIGEST - 1]}_{digest}"
        if found not in taken:
            return found
        number += 1


def renaming_of(schema: Any, alphabet: Alphabet) -> Renaming | None:
    """The replacements for the names of a schema's members; None if there are none."""
    there = replacements(member_names(schema), alphabet)
    return Renaming(there, {new: name for name, new in there.items()}) if there else None


def member_names(schema: Any) -> Iterator[str]:
    """The names that a schema has for members of objects."""
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
                pending += value.values() if keyword in NAMED or keyword in SHELVES else (value, *value.values())
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
    """The names of one request's tools, for one target. `members` None: the target takes any name of a member."""

    tools: Alphabet
    members: Alphabet | None = None
    _there: dict[str, str] = field(default_factory=dict)
    _back: dict[str, str] = field(default_factory=dict)
    _schemas: dict[str, Any] = field(default_factory=dict)
    _renamings: dict[str, Renaming | None] = field(default_factory=dict)

    def add(self, functions: Iterable[tuple[str, Any]], native: Collection[str] = ()) -> None:
        """Declare functions, each with the schema of its arguments, and the names of the target's own tools.

        Of functions of one name, the first counts. A function with the name of a tool of the target gets another one.
        """
        for name, schema in functions:
            self._schemas.setdefault(name, schema)
        self._there = replacements(self._schemas, self.tools, native)
        self._back = {new: name for name, new in self._there.items()}

    @property
    def replaces(self) -> bool:
        """Whether a declared tool has another name for the target."""
        return bool(self._back)

    def again(self) -> ToolNames:
        """The names of another request that declares the same tools, none of which is replaced."""
        return ToolNames(self.tools, self.members, _schemas=self._schemas, _renamings=self._renamings)

    def there(self, name: str) -> str:
        """A tool's name as the target takes it; the name may be of a tool that is not declared any more."""
        if name in self._schemas or self.tools.takes(name):
            return self._there.get(name, name)
        if name not in self._there:
            self._there[name] = _replacement(name, self.tools, {*self._schemas, *self._there.values()})
        return self._there[name]

    def back(self, name: str) -> str:
        """The client's name of a tool."""
        return self._back.get(name, name)

    def renaming(self, name: str) -> Renaming | None:
        """The replacements in the arguments of a tool, by the client's name of it."""
        if self.members is None or name not in self._schemas:
            return None
        if name not in self._renamings:
            self._renamings[name] = renaming_of(self._schemas[name], self.members)
        return self._renamings[name]

    def applied(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """The body with all names as the target takes them; the same object where nothing has to be replaced."""
        out: dict[str, Any] = {}
        given = body.get("messages")
        messages = [self._message(message) for message in given] if isinstance(given, list) else []
        if any(new is not old for new, old in zip(messages, given or (), strict=False)):
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
            made = [self._call(call) for call in calls]
            if any(new is not old for new, old in zip(made, calls, strict=True)):
                out["tool_calls"] = made
        function, name = message.get("function_call"), message.get("name")
        if isinstance(function, dict) and (called := self._function(function)) is not function:
            out["function_call"] = called
        if message.get("role") in ("tool", "function") and isinstance(name, str) and self.there(name) != name:
            out["name"] = self.there(name)
        return {**message, **out} if out else message

    def _call(self, call: Any) -> Any:
        function = call.get("function") if isinstance(call, dict) else None
        made = self._function(function) if isinstance(function, dict) else function
        return call if made is function else {**call, "function": made}

    def _function(self, function: Mapping[str, Any]) -> Mapping[str, Any]:
        """A call's name and arguments."""
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
        """A tool, or what names one: `{"function": {"name"}}` or `{"name"}`."""
        function = holder.get("function") if isinstance(holder, dict) else None
        if isinstance(function, dict):
            return {**holder, "function": self._named(function)}
        name = holder.get("name") if isinstance(holder, dict) else None
        return {**holder, "name": self.there(name)} if isinstance(name, str) else holder


def functions_of(body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names and schemas of a body's `tools` and older `functions`; what is malformed is passed over."""
    for tool in _objects(body.get("tools")):
        function = tool.get("function")
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            yield function["name"], function.get("parameters")
    for function in _objects(body.get("functions")):
        if isinstance(function.get("name"), str):
            yield function["name"], function.get("parameters")


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    return (item for item in value if isinstance(item, dict)) if isinstance(value, list) else iter(())
