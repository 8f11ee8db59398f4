"""Views of the schema: the shape used for reading the file, the names of all settings, and the JSON Schema."""

import types
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr

from proxy.config.settings.keys import KeySettings
from proxy.config.settings.routing import ScenarioItem
from proxy.config.settings.schema import Settings
from proxy.config.yaml.expand import Unset
from proxy.config.yaml.shape import Shape

_PATTERNS = {
    "integer": r"^[0-9][0-9._]*\s*[kKmMgGbB]?i?$|\$\{",
    "number": r"^[0-9][0-9._]*\s*%$|\$\{",
    "boolean": r"\$\{",
}


def shape_of(annotation: Any) -> Shape:
    """Derive the shape from a type."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return shape_of(arguments[0])
    if origin in (Union, types.UnionType):
        return _union(arguments)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = {name: shape_of(info.annotation) for name, info in annotation.model_fields.items()}
        key = issubclass(annotation, KeySettings)  # a text is the value of a key, or the model of an entry
        text = key or issubclass(annotation, ScenarioItem)
        return Shape(container="section", text=text, secret=key, unset_disables=key, fields=fields)
    if origin is dict:
        return Shape(container="mapping", item=shape_of(arguments[1]))
    if origin is tuple:
        return Shape(container="list", item=shape_of(arguments[0]))
    if annotation is SecretStr:
        return Shape(text=True, secret=True)
    return Shape(text=annotation in (str, Decimal) or origin is Literal, optional=annotation is Any)


def _union(arguments: tuple[Any, ...]) -> Shape:
    kinds = [argument for argument in arguments if argument not in (type(None), Unset)]
    shape = shape_of(kinds[0])
    return Shape(
        text=shape.text,
        secret=shape.secret,
        unset_disables=Unset in arguments,
        optional=type(None) in arguments or Unset in arguments,
        container=shape.container,
        fields=shape.fields,
        item=shape.item,
    )


def setting_names() -> list[str]:
    """Every setting as a dotted path: `server.port`, `providers.*.timeouts.connect`, `models[].price.input`."""
    return list(_names(shape_of(Settings), ""))


def _names(shape: Shape, path: str) -> Iterator[str]:
    if shape.fields:
        for name, inner in shape.fields.items():
            yield from _names(inner, f"{path}.{name}" if path else name)
    elif shape.item is not None and _holds_sections(shape.item):
        yield from _names(shape.item, f"{path}[]" if shape.container == "list" else f"{path}.*")
    else:
        yield path


def _holds_sections(shape: Shape) -> bool:
    return bool(shape.fields) or (shape.item is not None and _holds_sections(shape.item))


def json_schema() -> dict[str, Any]:
    """JSON Schema of the file, for editors; `${VAR}` is accepted for any scalar, and a single item for a list."""
    schema = Settings.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Signalbox configuration"
    for definition in (schema, *schema.get("$defs", {}).values()):
        _allow_variables(definition)
    return schema


def _allow_variables(node: Any) -> None:
    """Accept a variable for every value that is not free text, and an item for a list."""
    if isinstance(node, list):
        for item in node:
            _allow_variables(item)
    if not isinstance(node, dict):
        return
    for name, item in node.items():
        if name == "properties":
            for inner in item.values():
                _allow_variables(inner)
        elif name in ("anyOf", "items", "additionalProperties"):
            _allow_variables(item)
    if node.get("type") == "array" and node.get("items"):
        kept = _taken(node)
        node["anyOf"] = [kept, kept["items"]]
    kind = str(node.get("type"))
    if "enum" in node or "pattern" in node or kind in _PATTERNS:
        pattern = _PATTERNS.get(kind, r"\$\{")
        node["anyOf"] = [_taken(node), {"type": "string", "pattern": pattern}]


def _taken(node: dict[str, Any]) -> dict[str, Any]:
    """Remove the constraints from a node and return them."""
    return {name: node.pop(name) for name in list(node) if name not in ("title", "description", "default")}
