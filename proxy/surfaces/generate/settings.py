"""Google's `generationConfig` as parameters of a chat.

What has no counterpart and changes the answer's quality only is dropped and named. What a chat cannot give at all
(speech, a cached prompt) is refused unless the target is Google's. Source: ai.google.dev/api/generate-content.
"""

from __future__ import annotations

from typing import Any

from proxy.core.errors import InvalidRequest
from proxy.surfaces.generate.fields import (
    Members,
    flag_of,
    integer_of,
    members_of,
    number_of,
    object_of,
    place,
    text_of,
    texts_of,
    wrong,
)
from proxy.surfaces.generate.schema import json_schema, schema_of

Chat = dict[str, Any]  # parameters of a chat

CONFIG = "generationConfig"
_NUMBERS = {
    "temperature": "temperature",
    "topP": "top_p",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
}
_SCHEMAS = ("responseJsonSchema", "_responseJsonSchema", "responseSchema")
_READ = {
    *_NUMBERS,
    *_SCHEMAS,
    "candidateCount",
    "logprobs",
    "maxOutputTokens",
    "responseLogprobs",
    "responseMimeType",
    "responseModalities",
    "seed",
    "stopSequences",
    "thinkingConfig",
}
_LEVELS = {"MINIMAL": "minimal", "LOW": "low", "MEDIUM": "medium", "HIGH": "high"}
_BUDGETS = ((0, "none"), (1024, "low"), (8192, "medium"))  # most tokens of an effort, as Google's compatible API has it


def read_settings(body: Members, dropped: dict[str, None]) -> Chat:
    """Return the parameters; names of what has no counterpart are added to `dropped`. Raises `InvalidRequest`."""
    config = object_of(body, CONFIG)
    dropped |= {f"{CONFIG}.{name[:40]}": None for name in config if name not in _READ}
    chat: Chat = {}
    for name, parameter in _NUMBERS.items():
        if (number := number_of(config, name, CONFIG)) is not None:
            chat[parameter] = number
    limit = integer_of(config, "maxOutputTokens", CONFIG, least=1)
    if limit is not None:
        chat["max_completion_tokens"] = limit
    if (seed := integer_of(config, "seed", CONFIG)) is not None:
        chat["seed"] = seed
    if (choices := integer_of(config, "candidateCount", CONFIG, least=1)) not in (None, 1):
        chat["n"] = choices
    if stops := [stop for stop in texts_of(config, "stopSequences", CONFIG) if stop]:
        chat["stop"] = stops
    if flag_of(config, "responseLogprobs", CONFIG):
        chat["logprobs"] = True
        if top := integer_of(config, "logprobs", CONFIG, least=0):
            chat["top_logprobs"] = top
    return chat | _modalities(config) | _format(config, dropped) | _thinking(config)


def shows_thoughts(config: Any) -> bool:
    """Return whether a `generationConfig` asks for the model's thoughts."""
    thinking = object_of(members_of(config, CONFIG), "thinkingConfig", CONFIG) if config is not None else {}
    return flag_of(thinking, "includeThoughts", f"{CONFIG}.thinkingConfig")


def refusal(body: Members) -> InvalidRequest | None:
    """Return why only Google's own models can serve the request; `None` if others can too."""
    if body.get("cachedContent"):
        message = "`cachedContent` is known to Google only; send the content, or choose a Gemini model."
        return InvalidRequest(message, param="cachedContent")
    if "AUDIO" in _modality_names(object_of(body, CONFIG)):
        where = f"{CONFIG}.responseModalities"
        message = f"`{where}`: speech is supported by Gemini models only; remove `AUDIO` or choose one of them."
        return InvalidRequest(message, param=where)
    return None


def _modality_names(config: Members) -> list[str]:
    return [name.upper() for name in texts_of(config, "responseModalities", CONFIG)]


def _modalities(config: Members) -> Chat:
    names = [name.lower() for name in _modality_names(config)]
    return {"modalities": names} if "image" in names else {}


def _format(config: Members, dropped: dict[str, None]) -> Chat:
    kind = text_of(config, "responseMimeType", CONFIG) or "text/plain"
    schema = _schema(config)
    if kind == "application/json" and schema is not None:
        return {"response_format": {"type": "json_schema", "json_schema": {"name": "response", "schema": schema}}}
    if kind == "application/json":
        return {"response_format": {"type": "json_object"}}
    if kind != "text/plain":
        dropped[f"{CONFIG}.responseMimeType"] = None
    if schema is not None:
        dropped[f"{CONFIG}.responseSchema"] = None
    return {}


def _schema(config: Members) -> dict[str, Any] | None:
    """Return the schema of the answer, from any of the members that may have it."""
    name = next((name for name in _SCHEMAS if name in config), None)
    if name is None:
        return None
    schema = config[name]
    if name == "responseSchema":
        return schema_of(schema, place(CONFIG, name))
    if not isinstance(schema, dict):
        raise wrong(place(CONFIG, name), "an object")
    return json_schema(schema)


def _thinking(config: Members) -> Chat:
    where = f"{CONFIG}.thinkingConfig"
    thinking = object_of(config, "thinkingConfig", CONFIG)
    level = (text_of(thinking, "thinkingLevel", where) or "").upper()
    budget = integer_of(thinking, "thinkingBudget", where)
    if level in _LEVELS:
        return {"reasoning_effort": _LEVELS[level]}
    if budget is None or budget < 0:  # -1: the model decides
        return {}
    return {"reasoning_effort": next((effort for most, effort in _BUDGETS if budget <= most), "high")}
