"""Definitions of the targets' schema languages.

Sources: Anthropic's documentation, "Tool use" (`input_schema` is JSON Schema 2020-12 whose root is an object without
`anyOf`, `oneOf` and `allOf`) and "Structured outputs" (JSON Schema limitations); OpenAI's guide "Structured model
outputs" (supported schemas); ai.google.dev/api/generate-content (`GenerationConfig.responseJsonSchema` lists the
keywords; a schema with `$ref` has no other members, and a cycle must include an optional property).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

Schema = dict[str, Any]

ANNOTATIONS = frozenset(
    {
        "title",
        "description",
        "default",
        "examples",
        "example",
        "deprecated",
        "readOnly",
        "writeOnly",
        "contentEncoding",
        "contentMediaType",
        "contentSchema",
        "propertyOrdering",
    }
)
# Keywords that become stricter if their subschemas become more permissive.
EXACT = frozenset({"not", "if", "then", "else", "contains", "minContains", "maxContains"})
UNEVALUATED = frozenset({"unevaluatedProperties", "unevaluatedItems"})


class NotExpressible(ValueError):
    """The language cannot express the schema."""


@dataclass(frozen=True, slots=True)
class Language:
    """The schema language of a target.

    `keywords`: None is all of 2020-12. `formats`: None is any. `closed`: every object declares all its members, so
    an object without `additionalProperties` is treated as closed. `recursion`: `optional` allows cycles that include an
    optional property. `object_root`: the root is an object without alternatives. `describes`:
    unsupported constraints are added to the description.
    """

    keywords: frozenset[str] | None
    formats: frozenset[str] | None = None
    enum_kinds: tuple[type, ...] | None = None  # of values in `enum`; None: any
    enum_mixes: bool = True  # `enum` may hold values of several types
    ref_siblings: bool = True
    closed: bool = False
    recursion: Literal["any", "optional", "none"] = "any"
    object_root: bool = False
    describes: bool = False
    declares_required: bool = False  # each name in `required` must be in `properties`
    requires_all: bool = False  # every member is required; an optional one is reported as `strict`
    takes: Callable[[str, Any], bool] = lambda keyword, value: True

    def has(self, keyword: str) -> bool:
        """Whether the language supports a keyword."""
        return self.keywords is None or keyword in self.keywords


_ODD_PATTERN = re.compile(r"\(\?|\\[bB1-9]")  # look-around, boundaries, back references


def _strict_takes(keyword: str, value: Any) -> bool:
    if keyword == "pattern":
        return not _ODD_PATTERN.search(value)
    return keyword != "minItems" or value in (0, 1)


ANTHROPIC_PART = Language(keywords=None)  # a part of a tool's schema
ANTHROPIC_TOOL = replace(ANTHROPIC_PART, object_root=True)
_COMMON = {
    "type",
    "enum",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "anyOf",
    "$ref",
    "format",
    "minItems",
}
_NOTES = {"title", "description", "default"}
ANTHROPIC_STRICT = Language(
    keywords=frozenset(_COMMON | _NOTES | {"const", "pattern"}),
    formats=frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}),
    enum_kinds=(str, int, float, bool, type(None)),
    ref_siblings=False,
    closed=True,
    recursion="none",
    describes=True,
    declares_required=True,
    takes=_strict_takes,
)
ANTHROPIC_STRICT_TOOL = replace(ANTHROPIC_STRICT, object_root=True)
# For an answer or a tool with `strict: true` at OpenAI, whose clients send other schemas too. An optional member stays
# optional, since a union with null would be another schema: with `strict` among what was lost, it cannot be strict.
OPENAI_STRICT = Language(
    keywords=frozenset(
        _COMMON
        | {"title", "description", "const", "pattern", "maxItems"}
        | {"multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
    ),
    formats=frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}),
    ref_siblings=False,
    closed=True,
    object_root=True,
    describes=True,
    declares_required=True,
    requires_all=True,
)
GEMINI_ANSWER = Language(
    keywords=frozenset(_COMMON | _NOTES | {"prefixItems", "maxItems", "minimum", "maximum", "propertyOrdering"}),
    formats=frozenset({"date-time", "date", "time", "duration", "enum", "int32", "int64", "float", "double"}),
    enum_kinds=(str, int, float),
    enum_mixes=False,
    ref_siblings=False,
    recursion="optional",
    describes=True,
    declares_required=True,
)
# Recorded calls show that the schemas of functions may have these too.
_ACCEPTED = frozenset({"minLength", "maxLength", "pattern", "uniqueItems"})
GEMINI_TOOL = replace(GEMINI_ANSWER, keywords=(GEMINI_ANSWER.keywords or frozenset()) | _ACCEPTED, object_root=True)
