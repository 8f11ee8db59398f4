"""Applies agents to the bodies of clients, before they are read: what all formats have in common.

Each surface that reads conversations has a function which adds the instructions, the tools and the parameters of an
agent to a body in its own format. So a target that speaks that format gets them too. What the request has itself has
priority; only instructions are joined, those of the agent first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from proxy.core.agents import Agent, AgentUse, filled, find_agent
from proxy.core.body import Document, parse
from proxy.core.call import Call
from proxy.core.errors import InvalidRequest
from proxy.core.json_text import compact, value_at
from proxy.core.snapshot import Snapshot
from proxy.core.spans import edit

_BLANK = b" \t\n\r"
VARIABLES = "router.variables"
_OF_TOOLS = ("tool_choice", "parallel_tool_calls")


class Edits:
    """A JSON object that is being edited. What is not edited keeps its bytes."""

    def __init__(self, raw: bytes, document: Document | None = None) -> None:
        document = document or parse(raw)
        self.members: Mapping[str, Any] = document.body
        self._raw = raw
        self._spans = document.spans
        self._write: dict[str, bytes] = {}
        self._inside: dict[str, dict[str, Any]] = {}  # members to add to objects that are members
        self._remove: list[str] = []

    def __contains__(self, name: str) -> bool:
        return name in self._spans

    def text(self, name: str) -> bytes:
        """Return the JSON of a member."""
        span = self._spans[name]
        return self._raw[span.value : span.end]

    def set(self, name: str, value: Any) -> None:
        """Set a member."""
        self._write[name] = compact(value)

    def add(self, name: str, value: Any) -> None:
        """Add a member, if the request does not have it."""
        if name not in self._spans:
            self.set(name, value)

    def add_inside(self, name: str, member: str, value: Any) -> None:
        """Add a member to the object that is the member `name`, if the request does not have it."""
        self._inside.setdefault(name, {})[member] = value

    def put(self, name: str, text: bytes) -> None:
        """Set a member to JSON."""
        self._write[name] = text

    def remove(self, name: str) -> None:
        """Remove a member."""
        self._remove.append(name)

    def result(self) -> bytes:
        """Return the edited object."""
        for name, members in self._inside.items():
            self._put_inside(name, members)
        if self._spans.keys() <= {*self._remove}:  # nothing of it is left
            return b"{" + b",".join([compact(name) + b":" + text for name, text in self._write.items()]) + b"}"
        return edit(self._raw, self._spans, self._write, self._remove)

    def _put_inside(self, name: str, members: Mapping[str, Any]) -> None:
        if name not in self:
            self.set(name, members)
        elif isinstance(self.members[name], dict):  # anything else is the reader's to judge
            inner = Edits(self.text(name))
            for member, value in members.items():
                inner.add(member, value)
            self.put(name, inner.result())


def with_item(items: bytes, item: Any) -> bytes:
    """Return the JSON list `items` with an item before the others."""
    rest = items[1:].lstrip(_BLANK)
    return b"[" + compact(item) + (b"" if rest.startswith(b"]") else b",") + rest


def first_and_rest(items: bytes) -> tuple[bytes, bytes]:
    """Return the first item of a JSON list that has one, and what follows it, up to the end of the list."""
    text = items.decode()
    _, end = value_at(text, 1)
    return text[1:end].strip(_BLANK.decode()).encode(), text[end:].encode()


def use_of(
    snapshot: Snapshot, name: str, values: Mapping[str, str], param: str = VARIABLES, named_by: str = "model"
) -> tuple[AgentUse, str]:
    """Return the use of an agent and its instructions. `param` is the parameter that has the `values`.

    Raises `UnknownAgent`.
    """
    agent = find_agent(snapshot.agents, name, named_by)
    text, problem = filled(agent, values, param)
    return AgentUse(agent, problem=problem), text


def note(call: Call, use: AgentUse | None, lost: tuple[str, ...]) -> Call:
    """Note in a call which agent was applied to it, and what of the agent has no counterpart; return the call."""
    call.agent = use
    if lost:
        call.dropped = (*call.dropped, *lost)
        if call.native is not None:
            call.native = replace(call.native, dropped=(*call.native.dropped, *lost))
    return call


def take_variables(body: Edits) -> dict[str, str]:
    """Remove `router.variables` from a body, and return it. Raises `InvalidRequest`."""
    router = body.members.get("router")
    if not isinstance(router, dict) or "variables" not in router:
        return {}
    options = Edits(body.text("router"))
    options.remove("variables")
    body.put("router", options.result())
    return texts(router["variables"], VARIABLES)


def texts(values: Any, param: str) -> dict[str, str]:
    """Return the values of variables. Raises `InvalidRequest` if they are not texts."""
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InvalidRequest(f"`{param}` must be an object of strings.", param=param)
    read = {}
    for name, value in values.items():
        part = value if isinstance(value, dict) and value.get("type") == "input_text" else {"text": value}
        if not isinstance(part.get("text"), str):
            where = f"{param}.{name[:64]}"
            raise InvalidRequest(f"`{where}` must be a string.", param=where)
        read[name] = part["text"]
    return read


def joined(agent: str, request: str) -> str:
    """Return the instructions of an agent and those of the request."""
    return f"{agent}\n\n{request}" if request else agent


def params_of(agent: Agent, body: Edits) -> dict[str, Any]:
    """Return the parameters that may be added to a body; those of tools belong to the agent's own tools."""
    own_tools = bool(agent.tools) and "tools" not in body
    return {name: value for name, value in agent.params.items() if own_tools or name not in _OF_TOOLS}


def add_params(params: Mapping[str, Any], add: Callable[[str, Any], bool]) -> list[str]:
    """Add parameters of a chat with `add`, which returns `False` for one without a counterpart; name these."""
    return [f"agent.params.{name}" for name, value in params.items() if not add(name, value)]


def stops_of(value: Any) -> Any:
    """Return a chat's `stop` as a list."""
    return [value] if isinstance(value, str) else value


def schema_of(form: Any) -> Any:
    """Return the JSON Schema in a chat's `response_format`."""
    named = form.get("json_schema") if isinstance(form, dict) else None
    return named.get("schema") if isinstance(named, dict) else None


def functions_of(agent: Agent) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Return the functions among the tools of an agent, without the object around them, and the other tools."""
    functions = [tool["function"] for tool in agent.tools if "function" in tool]
    return functions, [tool for tool in agent.tools if "function" not in tool]


def forced_function(choice: Any) -> str | None:
    """Return the name of the function that a chat's `tool_choice` forces."""
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else None
