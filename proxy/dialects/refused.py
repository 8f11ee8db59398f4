"""What cannot be sent: parameters that a model refuses, as its `unsupported` says, and what JSON cannot express."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from proxy.core.errors import InvalidRequest
from proxy.core.json_text import NotStrict, compact

# Left out, these would give the client another answer than it asked for.
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
CEILINGS = ("max_completion_tokens", "max_tokens")  # of an answer; -1, of local servers, is none
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


def refused(unsupported: Collection[str], given: Mapping[str, Any]) -> list[str]:
    """The parameters to leave out of `given`, which holds no nulls.

    `a+b` stands for two that cannot be there together: `b` is left out, or `a` where it asks for nothing (1, the
    default of `temperature` and `top_p`). Raises `InvalidRequest` where leaving one out would change the meaning.
    """
    found = [name for name in given if name in unsupported]
    for name in found:
        if name in _MEANING and asks(name, given[name]):
            message = f"`{name}` is not supported by this model; remove it or choose another model."
            raise InvalidRequest(message, param=name)
    for first, second in pairs_of(unsupported):
        if first in given and second in given and not {first, second} & set(found):
            if second in _MEANING and asks(first, given[first]) and asks(second, given[second]):
                message = f"`{second}` is not supported together with `{first}` by this model; remove one of them."
                raise InvalidRequest(message, param=second)
            found.append(first if given[first] == 1 else second)
    return found


def pairs_of(unsupported: Collection[str]) -> tuple[tuple[str, str], ...]:
    """Return the pairs of parameters that a model does not accept together: `a+b` in its `unsupported`."""
    rules = (rule.partition("+") for rule in sorted(unsupported))
    return tuple((first, second) for first, plus, second in rules if plus)


def present(body: Mapping[str, Any]) -> dict[str, Any]:
    """The members of a body that ask for something a translated target can have: no nulls, no limit of -1."""
    return {name: value for name, value in body.items() if value is not None and (value != -1 or name not in _LIMITS)}


def asks(name: str, value: Any) -> bool:
    """Whether a parameter's value asks for anything that is not so anyway."""
    return value not in (None, [], {}, "") and (name not in _ASKS_NOTHING or value != _ASKS_NOTHING[name])


def request_body(native: Mapping[str, Any]) -> bytes:
    """A translated body. Raises `InvalidRequest` if it has a number that no JSON reader takes, such as 1e999."""
    try:
        return compact(native)
    except NotStrict as exc:
        raise InvalidRequest("The body has a number that is too large for this model; use a smaller one.") from exc
