"""Translation of an OpenAI chat body to the body of Anthropic's `POST /v1/messages`.

An unsupported parameter that changes the meaning raises `InvalidRequest`, which names it; other ones are dropped and
listed. Source: Anthropic's API reference, "Messages"; `docs/providers.md` has the table of features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxy.core.errors import InvalidRequest
from proxy.core.model import Deployment
from proxy.core.plan import Target
from proxy.dialects.answer_tool import Structure
from proxy.dialects.anthropic.messages import Recalled, read_messages
from proxy.dialects.anthropic.structure import structure_of
from proxy.dialects.anthropic.thinking import MaxTokens, ThinkingRequest, apply, is_prefill, requested_thinking
from proxy.dialects.anthropic.tools import KnownTools, KnownTranslation, Tools, declare, names_of, read_tools
from proxy.dialects.assistant import recalled_by_client
from proxy.dialects.refused import CEILINGS, present, refused
from proxy.dialects.schema.forms import Forms

DEFAULT_MAX_TOKENS = 4096  # if the catalogue has no limit for the model
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
class Accepted:
    """The client's body for this target, and the names of the removed parameters."""

    body: dict[str, Any]
    dropped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Native:
    """The native body, and the names of the dropped parameters."""

    body: dict[str, Any]
    dropped: tuple[str, ...]


PREFILL = "messages.prefill"  # in `unsupported`: the last message must not have role `assistant`


def accepted_of(body: Mapping[str, Any], target: Target) -> Accepted:
    """Apply the scenario's parameters to the client's body, and remove nulls and unsupported parameters."""
    overrides = target.overrides
    whole = {**body, **overrides}
    if any(name in overrides for name in CEILINGS):
        whole = {name: value for name, value in whole.items() if name not in CEILINGS or name in overrides}
    accepted = present(whole)
    out = [name for name in refused(target.deployment.unsupported, accepted) if name != "messages"]
    return Accepted({name: value for name, value in accepted.items() if name not in out}, tuple(out))


def native_request(
    accepted: Accepted,
    deployment: Deployment,
    *,
    stream: bool,
    no_thinking: bool,
    recalled: Recalled,
    forms: Forms,
    known: KnownTools,
    raw_tools: bytes = b"",
    hosted: Sequence[Mapping[str, Any]] = (),
    forced: InvalidRequest | None = None,
) -> Native:
    """Translate the body; `raw_tools` are the client's bytes of `tools`, the key of earlier translations in `known`.

    `hosted` and `forced` are those of the `Call`.
    Raises `InvalidRequest` that names an unsupported parameter.
    """
    body = accepted.body
    _refuse(body)
    dropped = [*accepted.dropped, *(name for name in body if name not in _READ)]
    requested, unknown = requested_thinking(body, deployment, off=no_thinking)
    dropped += unknown
    structure = structure_of(body, deployment, forms)
    translation = known.find(raw_tools, deployment)
    names = names_of(body, structure, translation)
    named = names.applied(body)
    if named is not body:
        recalled = recalled_by_client(recalled, body["messages"])
    declared = declare(named, deployment, forms) if translation is None else translation.declared
    if translation is None and raw_tools and not names.replaces:
        known.keep(raw_tools, deployment, KnownTranslation(names, declared))
    tools = read_tools(named, declared, structure)
    prompt = read_messages(named["messages"], (lambda place, calls: None) if _is_off(requested) else recalled)
    dropped += prompt.dropped
    max_tokens = _max_tokens(body, deployment, dropped)
    native: dict[str, Any] = {"model": deployment.model, "max_tokens": max_tokens.tokens}
    if prompt.system is not None:
        native["system"] = prompt.system
    native["messages"] = prompt.messages
    _check_prefill(prompt.messages, deployment)
    _put_tools(native, tools, structure)
    dropped += tools.dropped
    dropped += _put_hosted(native, hosted, forced)
    dropped += [f"response_format.{keyword}" for keyword in (structure.lost if structure else ())]
    unthinking = _put_no_thinking(native, deployment)
    dropped += _put_sampling(native, body)
    if "user" in body and len(body["user"]) <= LONGEST_USER_ID:
        native["metadata"] = {"user_id": body["user"]}
    elif "user" in body:
        dropped.append("user")
    if requested is not None and not unthinking:
        dropped += apply(native, requested, max_tokens)
    elif requested is not None and not requested.off:
        dropped.append(requested.param)
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
    """Raise `InvalidRequest` for a prefill, if the model rejects one; it cannot be expressed in another way."""
    if PREFILL in deployment.unsupported and is_prefill(messages):
        message = (
            "`messages`: this model does not support assistant prefill; "
            "the last message must not have role `assistant`."
        )
        raise InvalidRequest(message, param="messages")


def _is_off(requested: ThinkingRequest | None) -> bool:
    if requested is None:
        return False
    thinking = requested.members.get("thinking")
    return requested.off or (isinstance(thinking, Mapping) and thinking.get("type") == "disabled")


def _max_tokens(body: Mapping[str, Any], deployment: Deployment, dropped: list[str]) -> MaxTokens:
    """Return the limit of tokens: the client's, at most the model's; else the model's, else the default."""
    most = deployment.max_output
    name = next((name for name in CEILINGS if name in body), None)
    if name is None:
        return MaxTokens(most or DEFAULT_MAX_TOKENS, is_requested=False, most=most)
    if most is not None and body[name] > most:
        dropped.append(name)
        return MaxTokens(most, is_requested=True, most=most)
    return MaxTokens(body[name], is_requested=True, most=most)


def _put_tools(native: dict[str, Any], tools: Tools, structure: Structure | None) -> None:
    if tools.tools:
        native["tools"] = tools.tools
    if tools.choice is not None:
        native["tool_choice"] = tools.choice
    if structure is not None and structure.format is not None:
        native["output_config"] = {"format": structure.format}


def _put_hosted(
    native: dict[str, Any], hosted: Sequence[Mapping[str, Any]], forced: InvalidRequest | None
) -> tuple[str, ...]:
    if not hosted:
        return ()
    from proxy.dialects.anthropic.hosted import add_hosted  # few calls need it

    return add_hosted(native, hosted, forced)


def _put_no_thinking(native: dict[str, Any], deployment: Deployment) -> bool:
    """Disable thinking that is on by default if a tool is forced; return whether that was necessary.

    Anthropic rejects the combination. If thinking cannot be disabled, the call is sent unchanged.
    """
    forced = native.get("tool_choice", {}).get("type") in ("any", "tool")
    if not forced or not deployment.thinking or not deployment.thinking_off:
        return False
    native.update(deployment.thinking_off)
    return True


def _put_sampling(native: dict[str, Any], body: Mapping[str, Any]) -> list[str]:
    """Set temperature, `top_p`, `top_k` and stop sequences; return the names of changed or dropped ones."""
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
    sequences = [stop for stop in stops if stop.strip()]
    if sequences:
        native["stop_sequences"] = sequences
    if len(sequences) < len(stops):
        dropped.append("stop")
    return dropped


def _mark_stable_part(native: dict[str, Any]) -> None:
    """Mark the end of the tools and of the instructions for caching, unless the client has set marks."""
    blocks = [*native.get("tools", []), *(native.get("system") or [])]
    blocks += [block for turn in native["messages"] for block in turn["content"]]
    if any("cache_control" in block for block in blocks if isinstance(block, dict)):
        return
    if native.get("tools"):
        native["tools"] = [*native["tools"][:-1], {**native["tools"][-1], "cache_control": _EPHEMERAL}]
    if system := native.get("system"):
        texts = [{"type": "text", "text": system}] if isinstance(system, str) else system
        native["system"] = [*texts[:-1], {**texts[-1], "cache_control": _EPHEMERAL}]
