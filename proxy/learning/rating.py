"""Rates an answer by cheap signs, without asking a model. Pure.

    empty                0     neither text nor a tool call
    refusal              0     the model declines to answer
    filtered             0     the provider has kept the answer back
    cut                  0     at a length that the client has not set
    invalid JSON         0     not JSON, or not by the JSON schema, that `response_format` asks for
    invalid tool call    0     of a tool that does not exist, or with arguments that do not fit it
    repetition           0.1   the end says the same again and again
    other language       0.2   not in the language that the prompt asks for
    other format         0.3   not JSON, or more than one word, although the prompt asks for it

The rating is the least of these, and 1 without any of them: then nothing is obviously wrong, which does not mean that
the answer is good.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxy.core.json_text import nested_is_expensive, value_of
from proxy.core.record import Rating
from proxy.learning.conformity import conforms
from proxy.learning.languages import is_in_other_language, language_asked

SCORES: Mapping[str, float] = {
    "empty": 0.0,
    "refusal": 0.0,
    "filtered": 0.0,
    "cut": 0.0,
    "invalid JSON": 0.0,
    "invalid tool call": 0.0,
    "repetition": 0.1,
    "other language": 0.2,
    "other format": 0.3,
}
LIMITS = ("max_completion_tokens", "max_tokens")
_READ = 8_000  # characters of a message in which requests are searched
_PARTS = 20  # of a message
_SHORT = 800  # characters of a refusal, at most
_REPEATED = 1_000  # characters from which a text is examined for repetition
_TAIL = 4_096  # bytes that are examined
_COMPRESSED = 0.07  # of their size, below which they say the same again and again; tables and code have more
_FINISHES = {  # the providers' own finish reasons, and those of chat that they stand for
    **dict.fromkeys(("max_tokens", "max_output_tokens"), "length"),
    **dict.fromkeys(("safety", "prohibited_content", "blocklist", "spii", "recitation"), "content_filter"),
}
_CANNOT = r"(?:can(?:no|['’])t|cannot|won['’]t|am unable|am not able|['’]m unable|['’]m not able)"
_REFUSAL = re.compile(
    r"(?:(?:i['’]m sorry|i am sorry|sorry|i apologi[sz]e|unfortunately)\b[^.!?\n]{0,80}?\bi\b[^.!?\n]{0,20}?"
    rf"{_CANNOT}"
    rf"|i ?{_CANNOT} (?:to )?(?:help|assist|provide|answer|comply|do that|fulfil|create|generate|write|share|discuss)"
    rf"|as an? (?:ai\b|language model)[^.!?\n]{{0,80}}?{_CANNOT}"
    r"|(?:es )?tut mir leid,? (?:aber )?(?:ich kann|das kann ich|dabei kann ich)"
    r"|je suis désolée?,? (?:mais )?je ne (?:peux|suis)"
    r"|lo siento,? (?:pero )?no puedo)",
    re.IGNORECASE,
)
_JSON_ASKED = re.compile(
    r"\b(?:only|just|nothing but)\s{1,8}(?:with\s{1,8})?(?:a\s{1,8})?(?:valid\s{1,8})?json\b|\bjson only\b", re.I
)
_WORD_ASKED = re.compile(r"\b(?:answer|reply|respond)\b[^.!?\n]{0,30}?\b(?:one|a single) word\b(?! or)", re.I)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool in an answer."""

    name: str
    arguments: str
    is_function: bool = True  # else the arguments are free text


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model has answered."""

    text: str
    calls: Sequence[ToolCall] = ()
    refused: bool = False  # the model's format has a refusal of its own
    media: bool = False  # it has audio or images
    whole: bool = True  # `text` and `calls` are all of it


def rate(body: Mapping[str, Any], answer: Answer | None, finish: str | None) -> Rating:
    """Return the rating of an answer to a chat body; without the answer, by its finish reason alone."""
    reasons = list(_of_end(body, finish))
    if answer is not None:
        reasons += [reason for reason in _of_answer(body, answer) if reason not in reasons]
    return Rating(min((SCORES[reason] for reason in reasons), default=1.0), tuple(reasons))


def _of_end(body: Mapping[str, Any], finish: str | None) -> Iterator[str]:
    finish = _FINISHES.get((finish or "").lower(), finish)
    if finish == "refusal":
        yield "refusal"
    elif finish == "content_filter":
        yield "filtered"
    elif finish == "length" and all(body.get(name) is None for name in LIMITS):
        yield "cut"


def _of_answer(body: Mapping[str, Any], answer: Answer) -> Iterator[str]:
    text = answer.text.strip()
    if answer.refused or (len(text) <= _SHORT and not answer.calls and _REFUSAL.match(text)):
        yield "refusal"
    elif not text and not answer.calls and not answer.media and answer.whole:
        yield "empty"
    elif answer.calls:
        tools = tools_of(body) if answer.whole else {}
        if not all(_is_valid(call, tools) for call in answer.calls):
            yield "invalid tool call"
    else:
        yield from _of_text(body, text, whole=answer.whole)


def _of_text(body: Mapping[str, Any], text: str, *, whole: bool) -> Iterator[str]:
    """Yield what is wrong with a text, which is neither empty nor a refusal."""
    if _repeats(text):
        yield "repetition"
    form = body.get("response_format")
    asked = form.get("type") if isinstance(form, dict) else None
    if asked in ("json_object", "json_schema"):
        if whole and not _is_structured(text, form):
            yield "invalid JSON"
        return
    prompt = requests_of(body)
    if whole and not _has_format(text, prompt):
        yield "other format"
    language = language_asked(prompt)
    if language is not None and is_in_other_language(text, language):
        yield "other language"


def requests_of(body: Mapping[str, Any]) -> str:
    """Return the bounded text of the system prompt and of the last message of the user."""
    contents: dict[str, Any] = {}
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else ():
        role = message.get("role") if isinstance(message, Mapping) else None
        if role in ("system", "developer", "user"):
            contents["user" if role == "user" else "system"] = message.get("content")
    return "\n".join(shortened(content, _READ) for content in contents.values())


def shortened(content: Any, longest: int) -> str:
    """Return the start and the end of the text of a content of any size."""
    if isinstance(content, list):
        parts = content if len(content) <= _PARTS else [*content[: _PARTS // 2], *content[-_PARTS // 2 :]]
        texts = [part.get("text") for part in parts if isinstance(part, Mapping)]
        content = "\n".join(shortened(text, longest) for text in texts if isinstance(text, str))
    text = content if isinstance(content, str) else ""
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]}\n[... {len(text) - longest} characters are left out ...]\n{text[-half:]}"


def text_of(content: Any) -> str:
    """Return the text of a message's content, which may have any shape."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    texts = [part.get("text") for part in parts if isinstance(part, Mapping)]
    return "\n".join(text for text in texts if isinstance(text, str))


def _repeats(text: str) -> bool:
    if len(text) < _REPEATED:
        return False
    tail = text[-_TAIL:].encode("utf-8", "replace")[-_TAIL:]
    return len(zlib.compress(tail, 1)) < _COMPRESSED * len(tail)


def _is_structured(text: str, form: Any) -> bool:
    if nested_is_expensive(text):
        return True  # unknown
    value = value_of(text)
    if form["type"] == "json_object":
        return isinstance(value, dict)
    described = form.get("json_schema")
    schema = described.get("schema") if isinstance(described, dict) else None
    return (value is not None or text == "null") and conforms(value, schema)


def _has_format(text: str, prompt: str) -> bool:
    if _WORD_ASKED.search(prompt):
        return len(text.split()) <= 3
    if _JSON_ASKED.search(prompt) and not nested_is_expensive(text):
        return value_of(_unfenced(text)) is not None
    return True


def _unfenced(text: str) -> str:
    """Return what a fence of Markdown encloses, or the text."""
    first, line_feed, rest = text.partition("\n")
    return rest[:-3] if line_feed and first.startswith("```") and rest.endswith("```") else text


def _is_valid(call: ToolCall, tools: Mapping[str, Any]) -> bool:
    if call.name not in tools:
        return not tools
    if not call.is_function or nested_is_expensive(call.arguments):
        return True
    value = value_of(call.arguments) if call.arguments.strip() else {}
    return isinstance(value, dict) and conforms(value, tools[call.name])


def tools_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of the parameters of each tool, by name."""
    found: dict[str, Any] = {}
    for name in ("tools", "functions"):
        listed = body.get(name)
        for tool in listed if isinstance(listed, list) else ():
            if isinstance(tool, Mapping):
                kind = tool.get("type")
                about = tool.get(kind, tool) if isinstance(kind, str) else tool
                if isinstance(about, Mapping) and isinstance(about.get("name"), str):
                    found[about["name"]] = about.get("parameters")
    return found
