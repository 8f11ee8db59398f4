"""Translation of an OpenAI chat body to the body of Gemini's `generateContent`.

Parameters that Gemini supports are translated (`docs/providers.md`). An unsupported one that changes the meaning raises
`InvalidRequest`, which names it; other ones are dropped and listed.
Source: ai.google.dev/api/generate-content (GenerationConfig).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proxy.core.errors import InvalidRequest
from proxy.core.model import Deployment
from proxy.dialects.assistant import recalled_by_client
from proxy.dialects.gemini.contents import Recalled, read_contents
from proxy.dialects.gemini.structure import PAIR, add_answer_tool, structure_of, takes_one
from proxy.dialects.gemini.tools import names_of, tool_config_of, tools_of
from proxy.dialects.refused import present, refused
from proxy.dialects.schema.forms import Forms
from proxy.dialects.schema.language import GEMINI_ANSWER

MOST_STOPS = 5
HOTTEST = 2.0
_INT32 = 0x7FFFFFFF
_REFUSED = ("audio", "web_search_options", "logit_bias")
_READ = {  # translated below, or not relevant to the upstream
    "model",
    "messages",
    "stream",
    "stream_options",
    "tools",
    "functions",
    "tool_choice",
    "function_call",
    "response_format",
    "modalities",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "stop",
    "n",
    "seed",
    "logprobs",
    "top_logprobs",
    "reasoning_effort",
}
_SAME = {  # unchanged values with another name
    "top_p": "topP",
    "top_k": "topK",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
_TOP = {  # members of the whole request; other members of a `thinking` mapping belong to `generationConfig`
    "generationConfig",
    "safetySettings",
    "systemInstruction",
    "toolConfig",
    "tools",
    "cachedContent",
    "labels",
}
_NO_LOSS: dict[str, Callable[[Any], bool]] = {  # values that are the default
    "parallel_tool_calls": lambda value: value is True,
    "store": lambda value: value is False,
}


def native_body(
    body: Mapping[str, Any], deployment: Deployment, recalled: Recalled, forms: Forms, *, disable_thinking: bool
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the native body, and the names of dropped parameters. Raises `InvalidRequest` for unsupported ones.

    `body` is the client's with the target's overrides, without `router`.
    """
    members = present(body)
    dropped = refused(deployment.unsupported - {PAIR}, members)
    asked = {name: value for name, value in members.items() if name not in dropped}
    _refuse(asked)
    dropped += [name for name in asked if name not in _READ and name not in _SAME and not _asks_nothing(name, asked)]
    structure = structure_of(asked, deployment, forms)
    named = names_of(asked, structure).applied(asked)
    if named is not asked:
        recalled = recalled_by_client(recalled, asked["messages"])
    prompt = read_contents(named["messages"], recalled)
    dropped += prompt.dropped
    native: dict[str, Any] = {"contents": prompt.turns}
    if prompt.system:
        native["systemInstruction"] = {"parts": prompt.system}
    lost: set[str] = set()
    if tools := tools_of(named, lost, forms):
        native["tools"] = tools
        _check_mix(tools, deployment)
        if config := tool_config_of(named, tools):
            native["toolConfig"] = config
        elif named.get("tool_choice") not in (None, "auto", "none"):
            dropped.append("tool_choice")
    dropped += [f"tools.{keyword}" for keyword in sorted(lost)]
    if structure is not None:
        add_answer_tool(native, structure)
        dropped += [f"response_format.{keyword}" for keyword in structure.lost]
        asked = {name: value for name, value in asked.items() if name != "response_format"}
    native["generationConfig"] = _generation(asked, dropped, forms)
    _think(native, asked, deployment, dropped, disable_thinking=disable_thinking)
    if not native["generationConfig"]:
        del native["generationConfig"]
    return native, tuple(dict.fromkeys(dropped))


def _check_mix(tools: list[dict[str, Any]], deployment: Deployment) -> None:
    if len(tools) > 1 and "functionDeclarations" in tools[0] and takes_one(deployment):
        message = "Functions are not supported beside Google's own tools by this model; remove one of them."
        raise InvalidRequest(message, param="tools")


def _refuse(body: dict[str, Any]) -> None:
    for name in _REFUSED:
        if name in body and (body[name] or name != "logit_bias"):
            raise InvalidRequest(
                f"`{name}` is not supported by this model; remove it or choose another model.", param=name
            )
    if "audio" in _modalities(body):
        raise InvalidRequest(
            "`modalities`: audio answers are not supported for this model; remove `audio`.", param="modalities"
        )


def _modalities(body: dict[str, Any]) -> list[str]:
    found = body.get("modalities")
    return [str(name) for name in found] if isinstance(found, list) else []


def _asks_nothing(name: str, body: dict[str, Any]) -> bool:
    return name in _REFUSED or (name in _NO_LOSS and _NO_LOSS[name](body[name]))


def _generation(body: dict[str, Any], dropped: list[str], forms: Forms) -> dict[str, Any]:
    config = {native: body[name] for name, native in _SAME.items() if name in body}
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    if limit is not None:
        config["maxOutputTokens"] = limit
    if "temperature" in body:
        config["temperature"] = min(max(body["temperature"], 0), HOTTEST)
        if config["temperature"] != body["temperature"]:
            dropped.append("temperature")
    if stops := _stops(body, dropped):
        config["stopSequences"] = stops
    if body.get("n", 1) != 1:
        config["candidateCount"] = body["n"]
    if "seed" in body:
        config["seed"] = body["seed"] & _INT32  # Google's seeds have 32 bits
    if body.get("logprobs"):
        config["responseLogprobs"] = True
        if body.get("top_logprobs"):
            config["logprobs"] = body["top_logprobs"]
    if "image" in _modalities(body):
        config["responseModalities"] = [name.upper() for name in _modalities(body)]
    return config | _format(body.get("response_format"), dropped, forms)


def _stops(body: dict[str, Any], dropped: list[str]) -> list[str]:
    stops = body.get("stop") or []
    stops = [stop for stop in ([stops] if isinstance(stops, str) else stops) if stop]
    if len(stops) > MOST_STOPS:
        dropped.append("stop")
    return stops[:MOST_STOPS]


def _format(form: dict[str, Any] | None, dropped: list[str], forms: Forms) -> dict[str, Any]:
    kind = form.get("type") if form else "text"
    if kind == "text":
        return {}
    if kind == "json_object":
        return {"responseMimeType": "application/json"}
    json_schema = form.get("json_schema") if form and kind == "json_schema" else None
    schema = json_schema.get("schema") if isinstance(json_schema, dict) else None
    if not isinstance(json_schema, dict) or not isinstance(schema, (dict, type(None))):
        message = "`response_format` must be of type `text`, `json_object` or `json_schema`, the last with its schema."
        raise InvalidRequest(message, param="response_format")
    config: dict[str, Any] = {"responseMimeType": "application/json"}
    if schema:
        found = forms.of(schema, GEMINI_ANSWER)
        config["responseJsonSchema"] = found.schema
        dropped += [f"response_format.{keyword}" for keyword in found.lost]
    return config


def _think(
    native: dict[str, Any],
    body: dict[str, Any],
    deployment: Deployment,
    dropped: list[str],
    *,
    disable_thinking: bool,
) -> None:
    """Enable or disable thinking as the catalogue defines it; list the parameters that it does not define."""
    effort = body.get("reasoning_effort")
    if disable_thinking:
        members, name = deployment.thinking_off, "router.disable_thinking"
    elif effort is not None:
        off = deployment.thinking_off if effort == "none" else None
        members, name = deployment.thinking.get(str(effort), off), "reasoning_effort"
    else:
        return
    if not isinstance(members, Mapping):
        dropped.append(name)
        return
    for key, value in members.items():
        _merge(native if key in _TOP else native["generationConfig"], key, value)


def _merge(into: dict[str, Any], name: str, value: Any) -> None:
    """Set a member; objects are merged, so that the catalogue's do not remove the client's members."""
    before = into.get(name)
    if isinstance(before, dict) and isinstance(value, Mapping):
        joined = dict(before)
        for key, member in value.items():
            _merge(joined, key, member)
        into[name] = joined
    else:
        into[name] = dict(value) if isinstance(value, Mapping) else value
