"""What holds for every schema of any draft, in every target's language."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft4Validator, Draft7Validator, Draft202012Validator
from jsonschema.exceptions import _WrappedReferencingError
from referencing import Registry

from proxy.dialects.schema.express import express
from proxy.dialects.schema.language import (
    ANTHROPIC_STRICT,
    ANTHROPIC_TOOL,
    GEMINI_ANSWER,
    GEMINI_TOOL,
    OPENAI_STRICT,
    Language,
    NotExpressible,
)

unhurried = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
)
LANGUAGES = {
    "anthropic tool": ANTHROPIC_TOOL,
    "anthropic strict": ANTHROPIC_STRICT,
    "gemini tool": GEMINI_TOOL,
    "gemini answer": GEMINI_ANSWER,
    "openai strict": OPENAI_STRICT,
}
DRAFTS = {
    "http://json-schema.org/draft-04/schema#": Draft4Validator,
    "http://json-schema.org/draft-07/schema#": Draft7Validator,
    "https://json-schema.org/draft/2020-12/schema": Draft202012Validator,
}
NAMES = ["a", "b", "kind"]
SCALARS: list[Any] = [None, True, False, 0, 1, 2, -1, 1.5, 2.0, "", "a", "b", "xyz"]
VALUES = st.recursive(
    st.sampled_from(SCALARS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*NAMES, "x-1"]), inner, max_size=3),
    max_leaves=6,
)
TYPES = ["null", "boolean", "integer", "number", "string", "array", "object"]
REFS = ["#", "#/$defs/D", "#/definitions/D", "#/definitions/E", "#/properties/a", "#/nowhere", "https://x.example/y"]
SIZES = st.integers(0, 3)


def _members(draft: str, inner: st.SearchStrategy[Any]) -> dict[str, st.SearchStrategy[Any]]:
    """The keywords of a draft with their values."""
    schemas = st.lists(inner, min_size=1, max_size=3)
    named = st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
    members: dict[str, st.SearchStrategy[Any]] = {
        "type": st.sampled_from(TYPES) | st.lists(st.sampled_from(TYPES), min_size=1, max_size=3, unique=True),
        "enum": st.lists(st.sampled_from(SCALARS) | VALUES, min_size=1, max_size=3),
        "description": st.just("words"),
        "properties": named,
        "required": st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True),
        "additionalProperties": st.booleans() | inner,
        "patternProperties": st.dictionaries(st.sampled_from(["^x-", "a"]), inner, max_size=1),
        "items": inner,
        "minItems": SIZES,
        "maxItems": SIZES,
        "uniqueItems": st.booleans(),
        "minimum": st.integers(-1, 2),
        "maximum": st.integers(-1, 2),
        "multipleOf": st.sampled_from([1, 2, 0.5]),
        "minLength": SIZES,
        "maxLength": SIZES,
        "pattern": st.sampled_from(["^a", "(?=a)"]),
        "minProperties": SIZES,
        "maxProperties": SIZES,
        "anyOf": schemas,
        "oneOf": schemas,
        "allOf": schemas,
        "not": inner,
    }
    if "2020" not in draft:
        members["items"] = inner | schemas
        members["additionalItems"] = st.booleans() | inner
        members["dependencies"] = st.dictionaries(st.sampled_from(NAMES), inner | st.just(["b"]), max_size=1)
    else:
        members["prefixItems"] = schemas
        members["dependentRequired"] = st.just({"a": ["b"]})
        members["dependentSchemas"] = named
        members["unevaluatedProperties"] = st.booleans() | inner
        members["unevaluatedItems"] = st.booleans()
        members["minContains"] = members["maxContains"] = SIZES
    if "04" in draft:
        members["exclusiveMinimum"] = members["exclusiveMaximum"] = st.booleans()
    else:
        members |= dict.fromkeys(("if", "then", "else", "contains", "propertyNames"), inner)
        members["const"] = VALUES
        members["exclusiveMinimum"] = members["exclusiveMaximum"] = st.integers(-1, 2)
    return members


@st.composite
def documents(draw: st.DrawFn, *, references: bool = True, drafts: Iterable[str] = DRAFTS) -> dict[str, Any]:
    """A schema of one of the drafts, with references where wanted."""
    draft = draw(st.sampled_from(sorted(drafts)))
    leaves: st.SearchStrategy[Any] = st.sampled_from([{"type": kind} for kind in TYPES]) | st.just({})
    if "04" not in draft:
        leaves |= st.booleans()
    if references:
        leaves |= st.sampled_from(REFS).map(lambda target: {"$ref": target})

    def nest(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        members = _members(draft, inner)
        picked = st.lists(st.sampled_from(sorted(members)), min_size=1, max_size=4, unique=True)
        return picked.flatmap(lambda names: st.fixed_dictionaries({name: members[name] for name in names}))

    schemas = st.recursive(leaves, nest, max_leaves=6)
    root = draw(nest(schemas))
    if references:
        root["definitions"] = {"D": draw(schemas), "E": draw(schemas)}
        root["$defs"] = {"D": draw(schemas)}
    return {"$schema": draft, **root}


def accepts(schema: Any, value: Any, validator: Any = Draft202012Validator) -> bool | None:
    """Whether a value is valid; None where the schema itself cannot be followed."""
    try:
        return bool(validator(schema, registry=Registry()).is_valid(value))
    except (RecursionError, _WrappedReferencingError):
        return None
    except BaseException as exc:  # `referencing` keeps its resources in Rust, which panics when Python's stack is full
        if type(exc).__name__ == "PanicException":
            return None
        raise


def nodes(schema: Any, *, root: bool = True) -> Iterator[dict[str, Any]]:
    """The nodes of an expressed schema."""
    if not isinstance(schema, dict):
        return
    yield schema
    for name, value in schema.items():
        if name in ("properties", "patternProperties", "dependentSchemas", "$defs"):
            assert name != "$defs" or root
            inner = value.values()
        elif name in ("anyOf", "oneOf", "allOf", "prefixItems"):
            inner = value
        elif name in ("enum", "const", "default", "required", "dependentRequired"):
            inner = []
        else:
            inner = [value]
        for each in inner:
            yield from nodes(each, root=False)


def check_language(schema: dict[str, Any], language: Language) -> None:
    """The schema uses only what the language has."""
    if language.object_root:
        assert schema["type"] == "object"
        assert not {"anyOf", "oneOf", "allOf", "$ref"} & schema.keys()
    for node in nodes(schema):
        if language.keywords is not None:
            assert node.keys() <= {*language.keywords, "$defs"}
        if not language.ref_siblings and "$ref" in node:
            assert node.keys() <= {"$ref", "$defs"}
        if language.enum_kinds is not None:
            assert all(type(value) in language.enum_kinds for value in node.get("enum", ()))
        if language.declares_required:
            assert set(node.get("required", ())) <= node.get("properties", {}).keys()
        if "object" in node.get("type", ()) and language.closed:
            assert node["additionalProperties"] is False
        if "$ref" in node:
            assert node["$ref"].removeprefix("#/$defs/") in schema["$defs"]
        assert not isinstance(node.get("exclusiveMinimum"), bool)
        assert not isinstance(node.get("items"), list)
    Draft202012Validator.check_schema(schema)


def without_strays(expressed: dict[str, Any], value: Any) -> Any:
    """The value without members that only another variant than its own declares (`either` in `merge.py`)."""
    if not isinstance(value, dict):
        return value
    members = {name: expressed.get(name, {}) for name in ("properties", "$defs")}
    return {name: inner for name, inner in value.items() if accepts(members, {name: inner})}


OPEN = [name for name, language in LANGUAGES.items() if not language.closed]


@pytest.mark.parametrize("name", LANGUAGES)
@given(schema=documents())
@unhurried
def test_the_result_uses_only_what_the_target_has(name: str, schema: dict[str, Any]) -> None:
    before = copy.deepcopy(schema)

    try:
        found = express(schema, LANGUAGES[name])
    except NotExpressible:
        assert LANGUAGES[name].closed
        return

    check_language(found.schema, LANGUAGES[name])
    if LANGUAGES[name].requires_all and "strict" not in found.lost:
        assert all(node.get("properties", {}).keys() <= set(node.get("required", ())) for node in nodes(found.schema))
    assert schema == before


@pytest.mark.parametrize("name", OPEN)
@given(schema=documents(), values=st.lists(VALUES, min_size=20, max_size=40))
@unhurried
def test_what_was_valid_stays_valid(name: str, schema: dict[str, Any], values: list[Any]) -> None:
    language = LANGUAGES[name]
    found = express(schema, language)
    validator = DRAFTS[schema["$schema"]]

    for value in values:
        if (isinstance(value, dict) or not language.object_root) and accepts(schema, value, validator):
            value = without_strays(found.schema, value) if "anyOf" in found.lost and language.object_root else value
            if accepts(schema, value, validator):
                assert accepts(found.schema, value) is not False, (value, found)
