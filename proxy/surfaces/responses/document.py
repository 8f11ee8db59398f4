"""The response object: every member is always there, with the values of the request or their defaults.

Numbers and words are never null, because clients with strict types reject that. What the client sent is repeated only
if it has the right type, since the target has judged it before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from proxy.core.json_text import compact_nulled
from proxy.core.usage import Usage, count

Items = Sequence[Mapping[str, Any]]
_SECRET = ("authorization", "headers")  # members of `mcp` tools


class ResponseDocument:
    """The response object of one call, from its start to its end."""

    def __init__(
        self,
        id: str,
        created_at: int,
        model: str,
        request: Mapping[str, Any],
        *,
        store: bool = False,
        conversation: str | None = None,
    ) -> None:
        """`request` is the client's body. `store`: the response can be retrieved later."""
        self.id = id
        self.created_at = created_at
        self.model = model
        self.status = "in_progress"
        self.usage: dict[str, Any] | None = None
        self.error: dict[str, Any] | None = None
        self.incomplete: str | None = None  # why the answer is incomplete
        self.completed_at: int | None = None
        self.service_tier: str | None = None  # as the provider reports it
        self.decision: dict[str, Any] | None = None  # the decision record, with `router.debug`
        self._repeated = repeated(request)
        self._repeated["store"] = store
        self._repeated["conversation"] = {"id": conversation} if conversation else None
        self._encoded = b""  # of the members that do not change

    def value(self, output: Items = ()) -> dict[str, Any]:
        """Return the object with `output`."""
        members = self._changing(output) | self._repeated
        if self.decision is not None:
            members["router"] = self.decision
        if self.service_tier is not None:
            members["service_tier"] = self.service_tier
        return members

    def encoded(self, output: Items = ()) -> bytes:
        """Return the object as JSON."""
        if self.service_tier is not None or self.decision is not None:
            return compact_nulled(self.value(output))
        if not self._encoded:
            self._encoded = b"," + compact_nulled(self._repeated)[1:]
        return compact_nulled(self._changing(output))[:-1] + self._encoded

    def _changing(self, output: Items) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created_at,
            "completed_at": self.completed_at,
            "status": self.status,
            "error": self.error,
            "incomplete_details": {"reason": self.incomplete} if self.incomplete else None,
            "model": self.model,
            "output": list(output),
            "usage": self.usage,
        }


def repeated(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of the response object that repeat the request."""
    members = {name: _typed(request.get(name), default) for name, default in _DEFAULTS.items()}
    tools = request.get("tools")
    members["tools"] = [_tool(tool) for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    choice = request.get("tool_choice")
    members["tool_choice"] = choice if isinstance(choice, (str, dict)) else "auto"
    members["text"] = _text(request.get("text"))
    reasoning = request.get("reasoning")
    members["reasoning"] = {"effort": None, "summary": None} | (reasoning if isinstance(reasoning, dict) else {})
    if members["service_tier"] == "auto":
        members["service_tier"] = "default"
    for name, read in _NULLABLE.items():
        members[name] = read(request.get(name))
    return members


def usage_of(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Return the usage of a chat completion as the usage of a response."""
    read, written = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    inputs, outputs = _object(usage.get("prompt_tokens_details")), _object(usage.get("completion_tokens_details"))
    return {
        "input_tokens": read,
        "input_tokens_details": {
            "cached_tokens": _count(inputs, "cached_tokens"),
            "cache_write_tokens": _count(inputs, "cache_write_tokens"),
        },
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": _count(outputs, "reasoning_tokens")},
        "total_tokens": read + written,
    }


def counted(usage: Usage) -> dict[str, Any]:
    """Return tokens that the proxy has counted as the usage of a response."""
    inputs, outputs = {"cached_tokens": usage.cached}, {"reasoning_tokens": usage.reasoning}
    return usage_of(
        {
            "prompt_tokens": usage.input,
            "completion_tokens": usage.output,
            "prompt_tokens_details": inputs | {"cache_write_tokens": usage.cache_write},
            "completion_tokens_details": outputs,
        }
    )


def _typed(value: Any, default: Any) -> Any:
    """Return `value` if it has the type of `default`, or is a number too."""
    if isinstance(default, float) and type(value) is int:
        return value
    return value if type(value) is type(default) else default


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    if tool.get("type") == "function":
        return {"description": None, "parameters": None, "strict": None} | tool
    return {name: None if name in _SECRET else value for name, value in tool.items()}


def _text(text: Any) -> dict[str, Any]:
    members = {"format": {"type": "text"}} | _object(text)
    if not isinstance(members["format"], dict):
        members["format"] = {"type": "text"}
    if members["format"].get("type") == "json_schema":
        members["format"] = {"description": None, "strict": False} | members["format"]
        members["format"]["strict"] = bool(members["format"]["strict"])
    return members


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(counts: Mapping[str, Any], name: str) -> int:
    return max(0, count(counts.get(name)) or 0)


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _integer(value: Any) -> int | None:
    return value if type(value) is int else None


_DEFAULTS: dict[str, Any] = {
    "background": False,
    "frequency_penalty": 0.0,
    "metadata": {},
    "parallel_tool_calls": True,
    "presence_penalty": 0.0,
    "service_tier": "default",
    "temperature": 1.0,
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
}
_NULLABLE: dict[str, Callable[[Any], Any]] = {
    "instructions": _string,
    "max_output_tokens": _integer,
    "max_tool_calls": _integer,
    "previous_response_id": _string,
    "prompt_cache_key": _string,
    "safety_identifier": _string,
    "user": _string,
}
