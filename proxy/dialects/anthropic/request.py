"""An OpenAI chat body as the body of Anthropic's `POST /v1/messages`.

What Anthropic cannot do and what changes the meaning is refused with a 400 that names the parameter; what it merely
lacks is left out and named, so that the client is told. Source: Anthropic's API reference, "Messages"; the table is
that of our own contract.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxy.core.errors import InvalidRequest
from proxy.core.model import Deployment
from proxy.core.plan import Target
from proxy.dialects.answer_tool import Structure
from proxy.dialects.anthropic.messages import Recalled, read_messages
from proxy.dialects.anthropic.structure import structure_of
from proxy.dialects.anthropic.thinking import Ceiling, Wish, apply, is_prefill, wish_of
from proxy.dialects.anthropic.tools import Kept, KnownTools, Tools, declare, names_of, read_tools
from proxy.dialects.assistant import recalled_by_client
from proxy.dialects.refused import CEILINGS, present, refused
from proxy.dialects.schema.forms import Forms

DEFAULT_MAX_TOKENS = 4096  # where the catalogue does not know the model's own ceiling
LONGEST_USER_ID = 256  # characters
_EPHEMERAL = {"type": "ephemeral"}
_READ = {
    "model",
    "messages",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "top_k",
    "stop",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "functions",
    "function_call",
    "response_format",
    "user",
    "reasoning_effort",
    "thinking",
    "n",
    "logprobs",
    "top_logprobs",
    "modalities",
    "router",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """The client's body as this target is to see it, and what has been taken out of it."""

    body: dict[str, Any]
    dropped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Native:
    """The native body, and the names of all that is not in it."""

    body: dict[str, Any]
    dropped: tuple[str, ...]


PREFILL = "messages.prefill"  # in `unsupported`: the last message must not be the assistant's


def asked_of(body: Mapping[str, Any], target: Target) -> Asked:
    """Put the scenario's parameters over the client's, and take out nulls and what the model refuses."""
    overrides = target.overrides
    whole = {**body, **overrides}
    if any(name in overrides for name in CEILINGS):
        whole = {name: value for name, value in whole.items() if name not in CEILINGS or name in overrides}
    asked = present(whole)
    out = [name for name in refused(target.deployment.unsupported, asked) if name != "messages"]
    return Asked({name: value for name, value in asked.items() if name not in out}, tuple(out))


def native_request(
    asked: Asked,
    deployment: Deployment,
    *,
    stream: bool,
    no_thinking: bool,
    recalled: Recalled,
    forms: Forms,
    known: KnownTools,
    raw_tools: bytes = b"",
) -> Native:
    """Translate; `raw_tools` is `tools` as it came, by which `known` has what was made of it before.

    Raises `InvalidRequest` that names the parameter which Anthropic cannot have.
    """
    body = asked.body
    _refuse(body)
    dropped = [*asked.dropped, *(name for name in body if name not in _READ)]
    wish, unknown = wish_of(body, deployment, off=no_thinking)
    dropped += unknown
    structure = structure_of(body, deployment, forms)
    kept = known.find(raw_tools, deployment)
    names = names_of(body, structure, kept)
    named = names.applied(body)
    if named is not body:
        recalled = recalled_by_client(recalled, body["messages"])
    declared = declare(named, deployment, forms) if kept is None else kept.declared
    if kept is None and raw_tools and not names.replaces:
        known.keep(raw_tools, deployment, Kept(names, declared))
    tools = read_tools(named, declared, structure)
    prompt = read_messages(named["messages"], (lambda place, calls: None) if _is_off(wish) else recalled)
    dropped += prompt.dropped
    ceiling = _ceiling(body, deployment, dropped)
    native: dict[str, Any] = {"model": deployment.model, "max_tokens": ceiling.tokens}
    if prompt.system is not None:
        native["system"] = prompt.system
    native["messages"] = prompt.messages
    _check_prefill(prompt.messages, deployment)
    _put_tools(native, tools, structure)
    dropped += tools.dropped
    dropped += [f"response_format.{keyword}" for keyword in (structure.lost if structure else ())]
    unthinking = _put_no_thinking(native, deployment)
    dropped += _put_sampling(native, body)
    if "user" in body and len(body["user"]) <= LONGEST_USER_ID:
        native["metadata"] = {"user_id": body["user"]}
    elif "user" in body:
        dropped.append("user")
    if wish is not None and not unthinking:
        dropped += apply(native, wish, ceiling)
    elif wish is not None and not wish.off:
        dropped.append(wish.param)
    if stream:
        native["stream"] = True
    if deployment.provider.prompt_cache == "auto":
        _mark_stable_part(native)
    return Native(native, tuple(dict.fromkeys(dropped)))


def _refuse(body: Mapping[str, Any]) -> None:
    modalities = body.get("modalities")
    wants_more = bool(body.get("audio")) or (isinstance(modalities, list) and any(m != "text" for m in modalities))
    for name, is_asked in (
        ("n", body.get("n", 1) != 1),
        ("logprobs", bool(body.get("logprobs"))),
        ("top_logprobs", bool(body.get("top_logprobs"))),
        ("logit_bias", bool(body.get("logit_bias"))),
        ("modalities" if "modalities" in body else "audio", wants_more),
        ("web_search_options", "web_search_options" in body),
    ):
        if is_asked:
            raise InvalidRequest(
                f"`{name}` is not supported by this model; remove it or choose another model.", param=name
            )


def _check_prefill(messages: list[dict[str, Any]], deployment: Deployment) -> None:
    """Newer models refuse to continue an answer that the client has begun, which no other form can express."""
    if PREFILL in deployment.unsupported and is_prefill(messages):
        message = "`messages`: this model continues no answer that was begun for it; end with another role."
        raise InvalidRequest(message, param="messages")


def _is_off(wish: Wish | None) -> bool:
    if wish is None:
        return False
    thinking = wish.members.get("thinking")
    return wish.off or (isinstance(thinking, Mapping) and thinking.get("type") == "disabled")


def _ceiling(body: Mapping[str, Any], deployment: Deployment, dropped: list[str]) -> Ceiling:
    """`max_completion_tokens`, else `max_tokens`, not above what the model can; else the model's own, else ours."""
    most = deployment.max_output
    name = next((name for name in CEILINGS if name in body), None)
    if name is None:
        return Ceiling(most or DEFAULT_MAX_TOKENS, given=False, most=most)
    if most is not None and body[name] > most:
        dropped.append(name)
        return Ceiling(most, given=True, most=most)
    return Ceiling(body[name], given=True, most=most)


def _put_tools(native: dict[str, Any], tools: Tools, structure: Structure | None) -> None:
    if tools.tools:
        native["tools"] = tools.tools
    if tools.choice is not None:
        native["tool_choice"] = tools.choice
    if structure is not None and structure.format is not None:
        native["output_config"] = {"format": structure.format}


def _put_no_thinking(native: dict[str, Any], deployment: Deployment) -> bool:
    """Keep a model that thinks of its own accord from it where a tool is forced; whether that was needed.

    Anthropic does not take the two together. A model that cannot be kept from thinking gets the call as it is.
    """
    forced = native.get("tool_choice", {}).get("type") in ("any", "tool")
    if not forced or not deployment.thinking or not deployment.thinking_off:
        return False
    native.update(deployment.thinking_off)
    return True


def _put_sampling(native: dict[str, Any], body: Mapping[str, Any]) -> list[str]:
    """Temperature, `top_p`, `top_k` and stop sequences; the names of what was changed or left out."""
    dropped = []
    if "temperature" in body:
        native["temperature"] = min(max(body["temperature"], 0), 1)
        if native["temperature"] != body["temperature"]:
            dropped.append("temperature")
    for name in ("top_p", "top_k"):
        if name in body:
            native[name] = body[name]
    stops = body.get("stop", [])
    stops = [stops] if isinstance(stops, str) else stops
    kept = [stop for stop in stops if stop.strip()]
    if kept:
        native["stop_sequences"] = kept
    if len(kept) < len(stops):
        dropped.append("stop")
    return dropped


def _mark_stable_part(native: dict[str, Any]) -> None:
    """Mark the end of the tools and of the instructions for caching, unless the client has set marks of its own."""
    blocks = [*native.get("tools", []), *(native.get("system") or [])]
    blocks += [block for turn in native["messages"] for block in turn["content"]]
    if any("cache_control" in block for block in blocks if isinstance(block, dict)):
        return
    if native.get("tools"):
        native["tools"] = [*native["tools"][:-1], {**native["tools"][-1], "cache_control": _EPHEMERAL}]
    if system := native.get("system"):
        texts = [{"type": "text", "text": system}] if isinstance(system, str) else system
        native["system"] = [*texts[:-1], {**texts[-1], "cache_control": _EPHEMERAL}]
