"""The parameters of an Anthropic request, besides messages and tools, as those of a chat.

Thinking becomes `reasoning_effort`: `output_config.effort` if it is set, else the level that fits `budget_tokens`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.surfaces.messages.notes import Notes, invalid

LONGEST_USER = 64  # characters of `user` that OpenAI accepts
_READ = frozenset(
    (
        *("model", "messages", "max_tokens", "system", "stream", "stop_sequences", "temperature", "top_p", "tools"),
        *("tool_choice", "thinking", "output_config", "output_format", "metadata", "router"),
    )
)
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_LOW, _MEDIUM = 4_096, 16_384  # tokens: the largest budgets of these efforts
_LARGE = 1e9
_ADAPTIVE = "medium"  # if the client sets no effort


def read_parameters(body: Mapping[str, Any], notes: Notes, *, counted: bool) -> dict[str, Any]:
    """Return the parameters of the chat. Raises `InvalidRequest`. `counted`: the tokens are only to be counted."""
    chat: dict[str, Any] = {}
    if not counted:
        _put_limit(chat, body.get("max_tokens"), notes)
    if _is(body, "stream", bool, "true or false"):
        chat["stream"] = True
    for name in ("temperature", "top_p"):
        value = _is(body, name, (int, float), "a number")
        if value is not None:
            chat[name] = _sane(name, value)
    stops = body.get("stop_sequences")
    if stops is not None and not (isinstance(stops, list) and all(isinstance(stop, str) for stop in stops)):
        raise invalid("stop_sequences", "a list of strings")
    if stops:
        chat["stop"] = stops
    if (effort := _effort(body, notes)) is not None:
        chat["reasoning_effort"] = effort
    _put_format(chat, body)
    _put_user(chat, body, notes)
    for name in body:
        if name not in _READ and not _is_blank(body, name):
            notes.drop(name)
    return chat


def _put_limit(chat: dict[str, Any], limit: Any, notes: Notes) -> None:
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
        raise invalid("max_tokens", "a positive integer")
    if limit:
        chat["max_completion_tokens"] = limit
    else:
        notes.refuse("`max_tokens`: only Anthropic models accept 0, which fills their prompt cache.", "max_tokens")


def _effort(body: Mapping[str, Any], notes: Notes) -> str | None:
    """Return `reasoning_effort`; `None` for the model's default."""
    thinking = _is(body, "thinking", dict, "an object") or {}
    config = _is(body, "output_config", dict, "an object") or {}
    if config.get("task_budget") is not None:
        notes.drop("output_config.task_budget")
    kind, effort = thinking.get("type"), config.get("effort")
    if effort is not None and effort not in _EFFORTS:
        raise invalid("output_config.effort", f"one of {', '.join(_EFFORTS)}")
    if kind not in (None, "disabled", "adaptive", "enabled"):
        raise invalid("thinking.type", "`enabled`, `adaptive` or `disabled`")
    if kind == "disabled":
        return "none"
    if isinstance(effort, str) or kind is None:
        return effort
    if kind == "adaptive":
        return _ADAPTIVE
    budget = thinking.get("budget_tokens")
    if not isinstance(budget, int) or isinstance(budget, bool):
        raise invalid("thinking.budget_tokens", "an integer")
    return "low" if budget <= _LOW else "medium" if budget <= _MEDIUM else "high"


def _put_format(chat: dict[str, Any], body: Mapping[str, Any]) -> None:
    """Set `response_format`, from `output_config.format` or its older name `output_format`."""
    config = body.get("output_config") or {}
    where = "output_config.format" if config.get("format") is not None else "output_format"
    form = config.get("format") or body.get("output_format")
    if form is None:
        return
    if not isinstance(form, dict) or form.get("type") != "json_schema" or not isinstance(form.get("schema"), dict):
        raise invalid(where, "an object with the type `json_schema` and a `schema`")
    chat["response_format"] = {
        "type": "json_schema",
        "json_schema": {"name": "output", "schema": form["schema"], "strict": True},
    }


def _put_user(chat: dict[str, Any], body: Mapping[str, Any], notes: Notes) -> None:
    metadata = _is(body, "metadata", dict, "an object") or {}
    user = metadata.get("user_id")
    if not isinstance(user, str | None):
        raise invalid("metadata.user_id", "a string")
    if user and len(user) <= LONGEST_USER:
        chat["user"] = user
    elif user:
        notes.drop("metadata.user_id")


def _sane(name: str, value: float) -> float:
    """Return a number, which JSON must be able to express."""
    if not -_LARGE < value < _LARGE:
        raise invalid(name, "a number that is not too large")
    return value


def _is(body: Mapping[str, Any], name: str, types: Any, expected: str) -> Any:
    """Return a member that is missing, null, or of these types."""
    value = body.get(name)
    if value is not None and (not isinstance(value, types) or (isinstance(value, bool) and types is not bool)):
        raise invalid(name, expected)
    return value


def _is_blank(body: Mapping[str, Any], name: str) -> bool:
    return body.get(name) in (None, [], {})
