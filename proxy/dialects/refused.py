"""Unsupported parameters of a model (its `unsupported`), and values that JSON cannot express."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from proxy.core.errors import InvalidRequest
from proxy.core.json_text import NotStrict, compact

# Dropping these would change the meaning of the request.
_MEANING = (
    "audio",
    "functions",
    "logit_bias",
    "logprobs",
    "modalities",
    "n",
    "response_format",
    "stop",
    "tools",
    "top_logprobs",
)
CEILINGS = ("max_completion_tokens", "max_tokens")  # of the answer; -1, of local servers, is no limit
_LIMITS = (*CEILINGS, "top_k")  # for local servers, -1 is no limit
_ASKS_NOTHING: dict[str, Any] = {
    "frequency_penalty": 0,
    "logprobs": False,
    "n": 1,
    "presence_penalty": 0,
    "temperature": 1,
    "top_logprobs": 0,
    "top_p": 1,
}


def refused(unsupported: Collection[str], parameters: Mapping[str, Any]) -> list[str]:
    """Return the parameters to drop from `parameters`, which contains no nulls.

    `a+b` means that the two cannot be combined: `b` is dropped, or `a` if it has its default value (1 for `temperature`
    and `top_p`). Raises `InvalidRequest` if dropping one would change the meaning.
    """
    rejected = [name for name in parameters if name in unsupported]
    for name in rejected:
        if name in _MEANING and asks(name, parameters[name]):
            message = f"`{name}` is not supported by this model; remove it or choose another model."
            raise InvalidRequest(message, param=name)
    for first, second in pairs_of(unsupported):
        if first in parameters and second in parameters and not {first, second} & set(rejected):
            if second in _MEANING and asks(first, parameters[first]) and asks(second, parameters[second]):
                message = f"`{second}` is not supported together with `{first}` by this model; remove one of them."
                raise InvalidRequest(message, param=second)
            rejected.append(first if parameters[first] == 1 else second)
    return rejected


def pairs_of(unsupported: Collection[str]) -> tuple[tuple[str, str], ...]:
    """Return the pairs of parameters that a model does not accept together: `a+b` in its `unsupported`."""
    rules = (rule.partition("+") for rule in sorted(unsupported))
    return tuple((first, second) for first, plus, second in rules if plus)


def present(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of a body without nulls and limits of -1, for a translated target."""
    return {name: value for name, value in body.items() if value is not None and (value != -1 or name not in _LIMITS)}


def asks(name: str, value: Any) -> bool:
    """Whether a parameter's value differs from the default."""
    return value not in (None, [], {}, "") and (name not in _ASKS_NOTHING or value != _ASKS_NOTHING[name])


def request_body(native: Mapping[str, Any]) -> bytes:
    """Return a translated body. Raises `InvalidRequest` if it has a number that is invalid in JSON, such as 1e999."""
    try:
        return compact(native)
    except NotStrict as exc:
        raise InvalidRequest("The body has a number that is too large for this model; use a smaller one.") from exc
