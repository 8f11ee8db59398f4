"""Schemas of every draft in the language of each target."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.dialects.schema.express import express
from proxy.dialects.schema.language import (
    ANTHROPIC_PART,
    ANTHROPIC_STRICT,
    ANTHROPIC_STRICT_TOOL,
    ANTHROPIC_TOOL,
    GEMINI_ANSWER,
    GEMINI_TOOL,
    Language,
    NotExpressible,
)
from proxy.dialects.schema.plain import is_plain

TEXT = {"type": "string"}
WHOLE = {"type": "integer"}


def member(schema: Any, language: Language, **document: Any) -> Any:
    """What becomes of a schema as a member of an object."""
    found = express({"type": "object", "properties": {"m": schema}, **document}, language).schema
    return found["properties"]["m"]


def lost(schema: Any, language: Language) -> tuple[str, ...]:
    return express({"type": "object", "properties": {"m": schema}}, language).lost


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"items": [TEXT, WHOLE]}, {"prefixItems": [TEXT, WHOLE]}),
        ({"items": [TEXT], "additionalItems": False}, {"prefixItems": [TEXT], "items": {"not": {}}}),
        ({"items": [TEXT], "additionalItems": WHOLE}, {"prefixItems": [TEXT], "items": WHOLE}),
        ({"items": TEXT, "additionalItems": False}, {"items": TEXT}),
        ({"minimum": 1, "exclusiveMinimum": True}, {"exclusiveMinimum": 1}),
        ({"maximum": 1, "exclusiveMaximum": True}, {"exclusiveMaximum": 1}),
        ({"minimum": 1, "exclusiveMinimum": False}, {"minimum": 1}),
        ({"minItems": 1.0, "maxItems": 2.0}, {"minItems": 1, "maxItems": 2}),
        ({"additionalProperties": {"not": {}}}, {"additionalProperties": False}),
        ({"exclusiveMinimum": 1}, {"exclusiveMinimum": 1}),
        ({"dependencies": {"a": ["b"]}}, {"dependentRequired": {"a": ["b"]}}),
        ({"dependencies": {"a": {"required": ["b"]}}}, {"dependentSchemas": {"a": {"required": ["b"]}}}),
        ({"id": "#x", "type": "string"}, TEXT),
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        ({"enum": ["a"], "nullable": True}, {"enum": ["a", None]}),
        ({"oneOf": [TEXT, WHOLE], "nullable": True}, {"oneOf": [TEXT, WHOLE, {"type": "null"}]}),
        ({"allOf": [TEXT], "nullable": True}, {"anyOf": [{"allOf": [TEXT]}, {"type": "null"}]}),
        ({"type": ["string", "string"]}, TEXT),
        ({"required": ["a", "a"]}, {"required": ["a"]}),
        ({"type": "string", "examples": "a", "deprecated": "yes", "readOnly": 1, "contentEncoding": 5}, TEXT),
        ({"type": "string", "contentSchema": 5, "contentMediaType": None, "writeOnly": "x"}, TEXT),
        ({"type": "STRING"}, TEXT),
        ({"type": "any"}, {}),
        ({"type": "string", "required": True}, TEXT),
        (True, {}),
        (False, {"not": {}}),
        ({"contains": TEXT, "minContains": 2}, {"contains": TEXT, "minContains": 2}),
        ({"if": TEXT, "then": {"minLength": 1}, "else": WHOLE}, {"if": TEXT, "then": {"minLength": 1}, "else": WHOLE}),
    ],
)
def test_old_drafts_become_2020_12(given: Any, expected: dict[str, Any]) -> None:
    assert member(given, ANTHROPIC_TOOL) == expected


@pytest.mark.parametrize("keyword", ["anyOf", "oneOf"])
@pytest.mark.parametrize("language", [ANTHROPIC_TOOL, GEMINI_TOOL])
def test_variants_at_the_root_can_all_be_expressed(keyword: str, language: Language) -> None:
    first = {"properties": {"kind": {"const": "a"}, "x": TEXT}, "required": ["kind", "x"]}
    second = {"properties": {"kind": {"const": "b"}, "x": WHOLE, "y": WHOLE}, "required": ["kind", "y"]}

    found = express({keyword: [first, second], "description": "d"}, language)

    assert found.schema == {
        "type": "object",
        "description": "d",
        "properties": {"kind": {"enum": ["a", "b"]}, "x": {"anyOf": [TEXT, WHOLE]}, "y": WHOLE},
        "required": ["kind"],
    }
    assert found.lost == ("anyOf",)


@pytest.mark.parametrize(
    ("branches", "expected"),
    [
        ([{"enum": [1]}, {"enum": [1.0, 2]}], {"enum": [1.0, 2]}),
        ([{"type": "string", "const": "a"}, {"type": "string", "enum": ["b"]}], {"type": "string", "enum": ["a", "b"]}),
        ([TEXT, TEXT], TEXT),
        ([{"type": "string", "const": "a"}, {"type": "integer", "const": 1}], None),
        ([TEXT, {}], {}),
        ([TEXT, {"const": "a", "minLength": 1}], None),
    ],
)
def test_equal_names_of_variants_widen(branches: list[Any], expected: Any) -> None:
    variants = [{"properties": {"k": branch}} for branch in branches]

    found = express({"type": "object", "anyOf": variants}, ANTHROPIC_TOOL).schema

    assert found["properties"]["k"] == (expected if expected is not None else {"anyOf": branches})


@pytest.mark.parametrize(
    ("variants", "expected"),
    [
        ([{"additionalProperties": False}, {"additionalProperties": False}], False),
        ([{"additionalProperties": False}, {}], None),
        ([{"additionalProperties": False}, {"additionalProperties": TEXT}], TEXT),
        ([{"additionalProperties": False, "patternProperties": {"^x": TEXT}}, {"additionalProperties": False}], TEXT),
    ],
)
def test_variants_are_as_open_as_the_widest(variants: list[Any], expected: Any) -> None:
    found = express({"anyOf": variants}, ANTHROPIC_TOOL).schema

    assert found.get("additionalProperties") == expected


@pytest.mark.parametrize(
    "schema",
    [
        {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]},
        {"allOf": [{"$ref": "#/$defs/A"}]},
        {"$ref": "#/$defs/A"},
        {"oneOf": [{"anyOf": [{"$ref": "#/$defs/A"}]}]},
        {"type": ["object", "null"], "allOf": [{"properties": {"x": TEXT}}, {"required": ["x"]}]},
    ],
)
@pytest.mark.parametrize("language", [ANTHROPIC_TOOL, GEMINI_TOOL])
def test_any_root_of_a_tool_becomes_an_object(schema: dict[str, Any], language: Language) -> None:
    part = {"type": "object", "properties": {"x": TEXT}, "required": ["x"]}

    assert express({**schema, "$defs": {"A": part}}, language).schema == part


def test_what_all_of_joins_at_the_root_is_narrowed() -> None:
    parts = [
        {"properties": {"a": TEXT, "n": {"minimum": 1}}, "required": ["a"]},
        {"properties": {"b": TEXT, "n": {"minimum": 2, "type": "integer"}}, "required": ["b"]},
    ]

    found = express({"allOf": parts}, ANTHROPIC_TOOL)

    assert found.schema == {
        "type": "object",
        "properties": {"a": TEXT, "n": {"minimum": 2, "type": "integer"}, "b": TEXT},
        "required": ["a", "b"],
    }
    assert found.lost == ()


def test_definitions_of_both_shelves_stay_apart() -> None:
    found = express(
        {
            "type": "object",
            "properties": {"a": {"$ref": "#/definitions/A"}, "b": {"$ref": "#/$defs/A"}},
            "definitions": {"A": TEXT},
            "$defs": {"A": WHOLE},
        },
        GEMINI_TOOL,
    ).schema

    for name, expected in (("a", TEXT), ("b", WHOLE)):
        assert found["$defs"][found["properties"][name]["$ref"].removeprefix("#/$defs/")] == expected


@pytest.mark.parametrize(
    ("reference", "document"),
    [
        ("#/properties/other", {}),
        ("#here", {"$defs": {"A": {"$anchor": "here", **TEXT}}}),
        ("#here", {"$defs": {"A": {"$id": "#here", **TEXT}}}),
        ("#here", {"$defs": {"A": {"id": "#here", **TEXT}}}),
        ("https://x.example/root#/$defs/A", {"id": "https://x.example/root", "$defs": {"A": TEXT}}),
        ("#/definitions/a~1b%20c", {"definitions": {"a/b c": TEXT}}),
        ("#/components/schemas/A", {"components": {"schemas": {"A": TEXT}}}),
        ("https://x.example/root#/$defs/A", {"$id": "https://x.example/root", "$defs": {"A": TEXT}}),
        ("part", {"$id": "https://x.example/root", "$defs": {"A": {"$id": "part", **TEXT}}}),
        ("#/$defs/A", {"$defs": {"A": {"$ref": "#/$defs/B"}, "B": TEXT}}),
        ("#/$defs/A/items/0", {"$defs": {"A": {"items": [TEXT]}}}),
    ],
)
@pytest.mark.parametrize("language", [ANTHROPIC_TOOL, GEMINI_TOOL, ANTHROPIC_STRICT])
def test_references_lead_into_definitions(reference: str, document: dict[str, Any], language: Language) -> None:
    schema = {"type": "object", "properties": {"m": {"$ref": reference}, "other": TEXT}, **document}

    found = express(schema, language).schema

    name = found["properties"]["m"]["$ref"].removeprefix("#/$defs/")
    assert found["$defs"] == {name: TEXT}


@pytest.mark.parametrize("reference", ["https://x.example/y", "#/nowhere", "#nowhere", "#/$defs/Loop"])
def test_a_reference_that_leads_nowhere_takes_any_value(reference: str) -> None:
    loop = {"$defs": {"Loop": {"$ref": "#/$defs/Loop"}}}
    schema = {"type": "object", "properties": {"m": {"$ref": reference}}, **loop}

    found = express(schema, GEMINI_TOOL)

    assert found.schema == {"type": "object", "properties": {"m": {}}}
    assert found.lost == ("$ref",)


@pytest.mark.parametrize("language", [GEMINI_TOOL, ANTHROPIC_STRICT])
@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"$ref": "#/$defs/A", "description": "d"}, {"anyOf": [{"$ref": "#/$defs/A"}], "description": "d"}),
        ({"allOf": [{"$ref": "#/$defs/A"}]}, {"$ref": "#/$defs/A"}),
        ({"allOf": [{"$ref": "#/$defs/A"}], "default": "x"}, {"anyOf": [{"$ref": "#/$defs/A"}], "default": "x"}),
        ({"$ref": "#/$defs/A", "enum": ["x"]}, {"type": "string", "enum": ["x"]}),
        ({"$ref": "#/$defs/A", "nullable": True}, {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]}),
    ],
)
def test_a_reference_has_no_siblings(language: Language, schema: Any, expected: Any) -> None:
    assert member(schema, language, **{"$defs": {"A": TEXT}}) == expected


def test_siblings_of_a_reference_are_void_before_2019() -> None:
    document = {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"A": TEXT}}

    assert member({"$ref": "#/definitions/A", "type": "null"}, GEMINI_TOOL, **document) == {"$ref": "#/$defs/A"}


@pytest.mark.parametrize(
    ("given", "expected", "missing"),
    [
        ({"const": 3}, {"enum": [3]}, ()),
        ({"const": True}, {"type": "boolean"}, ("enum",)),
        ({"enum": [True, False]}, {"type": "boolean"}, ()),
        ({"const": None}, {"type": "null"}, ()),
        ({"const": {"a": 1}}, {"type": "object"}, ("enum",)),
        (
            {"type": ["string", "null"], "enum": ["a", None]},
            {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "null"}]},
            (),
        ),
        ({"enum": ["a", 1]}, {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "integer", "enum": [1]}]}, ()),
        ({"oneOf": [TEXT, WHOLE]}, {"anyOf": [TEXT, WHOLE]}, ()),
        (
            {"type": "integer", "exclusiveMinimum": 2, "exclusiveMaximum": 9},
            {"type": "integer", "minimum": 3, "maximum": 8},
            (),
        ),
        (
            {"type": "number", "exclusiveMinimum": 2},
            {"type": "number", "minimum": 2, "description": "exclusiveMinimum: 2"},
            ("exclusiveMinimum",),
        ),
        ({"items": [TEXT], "additionalItems": False}, {"prefixItems": [TEXT], "maxItems": 1}, ()),
        ({"allOf": [{"properties": {"a": {}}}, {"required": ["a"]}]}, {"properties": {"a": {}}, "required": ["a"]}, ()),
        ({"type": "object", "required": ["a"]}, {"type": "object", "properties": {"a": {}}, "required": ["a"]}, ()),
        ({"type": "string", "pattern": "^a"}, {"type": "string", "description": 'pattern: "^a"'}, ("pattern",)),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}, ()),
        ({"type": "string", "format": "uri"}, {"type": "string", "description": 'format: "uri"'}, ("format",)),
        ({"not": TEXT, "type": "integer"}, WHOLE, ("not",)),
        ({"if": TEXT, "then": WHOLE, "else": WHOLE}, {}, ("else", "if", "then")),
        (
            {"patternProperties": {"^x": TEXT}, "additionalProperties": False},
            {"additionalProperties": TEXT},
            ("patternProperties",),
        ),
        (
            {"allOf": [{"properties": {"a": TEXT}}], "unevaluatedProperties": False},
            {"properties": {"a": TEXT}, "additionalProperties": False},
            (),
        ),
        ({"properties": {"const": TEXT, "$ref": TEXT}}, {"properties": {"const": TEXT, "$ref": TEXT}}, ()),
    ],
)
def test_gemini_gets_what_it_has_words_for(given: Any, expected: Any, missing: tuple[str, ...]) -> None:
    assert member(given, GEMINI_ANSWER) == expected
    assert lost(given, GEMINI_ANSWER) == missing


def test_a_circle_leads_through_an_optional_member_for_gemini() -> None:
    node = {"type": "object", "properties": {"v": TEXT, "next": {"type": "array", "items": {"$ref": "#/$defs/N"}}}}
    schema = {"$ref": "#/$defs/N", "$defs": {"N": {**node, "required": ["v", "next"]}}}

    found = express(schema, GEMINI_ANSWER)

    assert found.schema["$defs"]["N"] == {**node, "required": ["v"]}
    assert found.lost == ("required",)


def test_a_circle_without_members_takes_any_value_for_gemini() -> None:
    lists = {"anyOf": [TEXT, {"type": "array", "items": {"$ref": "#/$defs/L"}}]}

    found = express({"type": "object", "properties": {"m": {"$ref": "#/$defs/L"}}, "$defs": {"L": lists}}, GEMINI_TOOL)

    assert found.schema["$defs"]["L"] == {"anyOf": [TEXT, {"type": "array", "items": {}}]}
    assert found.lost == ("$ref",)


def test_a_keyword_that_a_wider_part_would_narrow_is_left_out() -> None:
    wide = {"$ref": "https://x.example/y"}

    assert member({"oneOf": [TEXT, wide]}, ANTHROPIC_TOOL) == {}
    assert member({"not": wide, "type": "string"}, ANTHROPIC_TOOL) == TEXT
    assert member({"oneOf": [TEXT, WHOLE]}, ANTHROPIC_TOOL) == {"oneOf": [TEXT, WHOLE]}


def test_a_strict_schema_closes_every_object() -> None:
    schema = {"type": "object", "properties": {"p": {"type": "object", "properties": {"a": TEXT}}}}

    found = express(schema, ANTHROPIC_STRICT).schema

    assert found["additionalProperties"] is False
    assert found["properties"]["p"]["additionalProperties"] is False


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({**WHOLE, "minimum": 1, "description": "Stars"}, {**WHOLE, "description": "Stars; minimum: 1"}),
        ({**TEXT, "pattern": "^[a-z]+$"}, {**TEXT, "pattern": "^[a-z]+$"}),
        ({**TEXT, "pattern": "(?=x)"}, {**TEXT, "description": 'pattern: "(?=x)"'}),
        (
            {"type": "array", "items": TEXT, "minItems": 2},
            {"type": "array", "items": TEXT, "description": "minItems: 2"},
        ),
        ({"oneOf": [TEXT, {"type": "null"}]}, {"anyOf": [TEXT, {"type": "null"}]}),
        ({"const": True}, {"const": True}),
        (
            {"type": "object", "properties": {"k": TEXT}, "anyOf": [{"properties": {"x": TEXT}}, {"required": ["k"]}]},
            {
                "anyOf": [
                    {"type": "object", "properties": {"k": TEXT, "x": TEXT}, "additionalProperties": False},
                    {"type": "object", "properties": {"k": TEXT}, "required": ["k"], "additionalProperties": False},
                ]
            },
        ),
        (
            {"allOf": [{"properties": {"a": TEXT}}, {"properties": {"b": TEXT}}]},
            {"properties": {"a": TEXT, "b": TEXT}, "additionalProperties": False},
        ),
    ],
)
def test_a_strict_schema_says_what_its_language_has(given: Any, expected: Any) -> None:
    assert member(given, ANTHROPIC_STRICT) == expected


@pytest.mark.parametrize(
    "given",
    [
        {"type": "object", "additionalProperties": True, "properties": {"a": TEXT}},
        {"type": "object", "additionalProperties": TEXT},
        {"type": "object"},
        {"type": ["object", "null"]},
        {"type": "array", "items": True},
        {"type": "object", "properties": {"a": {"description": "anything"}}},
        {"type": "object", "properties": {"a": {"$ref": "https://example.com/schema"}}},
        {"type": "object", "properties": {"a": {"$ref": "#"}}},
        {"type": "object", "properties": {"a": {"const": {"b": 1}}}},
        {"$ref": "#/$defs/A", "$defs": {"A": {"type": "array", "items": {"$ref": "#/$defs/A"}}}},
    ],
)
def test_what_has_no_strict_form_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(NotExpressible):
        express(given, ANTHROPIC_STRICT)


def test_a_strict_tool_has_one_object_for_its_variants() -> None:
    variants = [{"properties": {"k": {"const": kind}}, "required": ["k"]} for kind in "ab"]

    found = express({"type": "object", "anyOf": variants}, ANTHROPIC_STRICT_TOOL).schema

    assert found["properties"] == {"k": {"enum": ["a", "b"]}}
    assert found["additionalProperties"] is False


def test_names_are_replaced_wherever_they_stand() -> None:
    schema = {
        "type": "object",
        "properties": {"$top": {"type": "integer"}, "b": {"$ref": "#/$defs/B"}},
        "required": ["$top", "b"],
        "dependentRequired": {"$top": ["b"]},
        "default": {"$top": 1},
        "$defs": {"B": {"properties": {"$top": {"description": "d"}}}},
    }

    found = express(schema, ANTHROPIC_TOOL, {"$top": "_top"}).schema

    assert "$top" not in json.dumps(found).replace('"title": "$top"', "")
    assert found["properties"]["_top"] == {"title": "$top", "type": "integer"}
    assert found["required"] == ["_top", "b"]


def test_patterns_of_names_are_left_out_where_names_are_replaced() -> None:
    schema = {
        "type": "object",
        "properties": {"$top": TEXT},
        "patternProperties": {"^[$]": WHOLE},
        "additionalProperties": False,
    }

    found = express(schema, ANTHROPIC_TOOL, {"$top": "_top"})

    assert found.schema["additionalProperties"] == WHOLE
    assert found.lost == ("patternProperties",)


LANGUAGES = [ANTHROPIC_TOOL, ANTHROPIC_PART, ANTHROPIC_STRICT, GEMINI_TOOL, GEMINI_ANSWER]


def _nested(keyword: str, count: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": {"a": TEXT}}
    for _ in range(count):
        schema = {keyword: [schema, TEXT]} if keyword in ("anyOf", "allOf", "oneOf") else {keyword: schema}
    return schema


def _doubling(keyword: str, count: int) -> dict[str, Any]:
    """A schema whose expansion is twice as large with every definition."""
    shelf = {
        f"D{n}": {keyword: [{"$ref": f"#/$defs/D{n + 1}", "minProperties": n}, {"$ref": f"#/$defs/D{n + 1}"}]}
        for n in range(count)
    }
    return {"$ref": "#/$defs/D0", "$defs": {**shelf, f"D{count}": {"type": "object", "properties": {"a": TEXT}}}}


def _chain(count: int) -> dict[str, Any]:
    shelf = {f"D{n}": {"$ref": f"#/$defs/D{n + 1}", "minProperties": n} for n in range(count)}
    return {"$ref": "#/$defs/D0", "$defs": {**shelf, f"D{count}": {"type": "object"}}}


HOSTILE = {
    "deep items": _nested("items", 900),
    "deep all": _nested("allOf", 900),
    "deep any": _nested("anyOf", 60),
    "deep one": _nested("oneOf", 60),
    "deep not": _nested("not", 900),
    "doubling all": _doubling("allOf", 60),
    "doubling any": _doubling("anyOf", 60),
    "chain": _chain(2000),
    "loop of all": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]},
    "loop of any": {"type": "object", "anyOf": [{"$ref": "#"}, {"$ref": "#"}]},
    "many variants": {"anyOf": [{"properties": {f"p{n}": {"const": n}, "k": {"const": n}}} for n in range(3000)]},
    "many lists": {"allOf": [{"anyOf": [{"required": [f"a{n}"]}, {"required": [f"b{n}"]}]} for n in range(200)]},
}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", HOSTILE)
def test_no_schema_exhausts_stack_or_time(name: str, language: Language) -> None:
    try:
        found = express(HOSTILE[name], language)
    except NotExpressible:
        assert language.closed
        return

    assert len(json.dumps(found.schema)) < 1_000_000


@pytest.mark.parametrize(
    "schema", [{"allOf": [True]}, {"properties": 3, "anyOf": 4}, {"$ref": 3}, {"type": [{}]}, {"enum": []}]
)
@pytest.mark.parametrize("language", [ANTHROPIC_TOOL, GEMINI_TOOL])
def test_malformed_members_are_left_out(schema: dict[str, Any], language: Language) -> None:
    assert express({**schema, "minLength": "x"}, language).schema == {"type": "object"}


@pytest.mark.parametrize(
    ("schema", "expressed"),
    [
        ({"const": None, "enum": [None, []]}, {"type": "null"}),
        ({"const": "a", "enum": ["a", "b"]}, {"const": "a", "enum": ["a", "b"]}),
    ],
)
def test_values_of_a_refused_kind_are_left_out(schema: dict[str, Any], expressed: dict[str, Any]) -> None:
    assert express(schema, ANTHROPIC_STRICT).schema == expressed


def test_values_that_contradict_each_other_are_not_expressible() -> None:
    with pytest.raises(NotExpressible):
        express({"const": None, "enum": [[]]}, ANTHROPIC_STRICT)


@pytest.mark.parametrize("pattern", ["([", r"\p{L}+", "(?<n>a)", "a{2,1}", "(" * 2000, "a" * 5000])
@pytest.mark.parametrize("language", [ANTHROPIC_TOOL, ANTHROPIC_STRICT_TOOL, GEMINI_TOOL])
def test_a_pattern_that_cannot_be_read_is_left_out(pattern: str, language: Language) -> None:
    found = express({"type": "object", "properties": {"m": {**TEXT, "pattern": pattern}}}, language)

    assert found.schema["properties"]["m"].get("pattern") is None
    assert found.lost == ("pattern",)


def test_unreadable_patterns_of_names_allow_any_name() -> None:
    given = {"type": "object", "patternProperties": {"([": TEXT}, "additionalProperties": False}

    found = express(given, ANTHROPIC_TOOL)

    assert found.schema == {"type": "object", "additionalProperties": TEXT}
    assert found.lost == ("patternProperties",)


@pytest.mark.parametrize(
    "member",
    [
        {"type": ["string", "string"]},
        {"type": "object", "required": ["a", "a"]},
        {"type": "string", "pattern": "(["},
        {"type": "string", "examples": "a"},
        {"$ref": "#/$defs/Box[int]"},
    ],
)
def test_what_a_validator_refuses_is_not_plain(member: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": {"m": member}, "$defs": {"Box[int]": WHOLE}}

    assert not is_plain(schema, ANTHROPIC_TOOL)


def test_a_false_part_of_all_of_stays_where_it_is_negated() -> None:
    schema = {"not": {"allOf": [False, {"additionalProperties": False}]}}

    assert member(schema, ANTHROPIC_TOOL) == {"not": {"allOf": [{"not": {}}, {"additionalProperties": False}]}}
