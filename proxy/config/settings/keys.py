"""Provider keys and limits."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, GetJsonSchemaHandler, PlainValidator, SecretStr, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from proxy.config.settings.base import Integer, Number, Section
from proxy.config.yaml.expand import Unset

Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]


def _key_value(value: Any) -> SecretStr | Unset:
    """Check a key's value: a text that is valid in a header, or `Unset`."""
    if isinstance(value, Unset):
        return value
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if text is None:
        return Unset()
    if not isinstance(text, str):
        raise ValueError("must be a string, such as `${OPENAI_API_KEY}`")
    text = text.strip()
    if not re.fullmatch(r"[\x21-\x7e]*", text, re.ASCII):
        if text.lower().startswith("bearer "):
            raise ValueError("must be the key alone; remove `Bearer`, which Signalbox adds")
        raise ValueError("contains a space or a character that is not valid in a header; correct the value")
    return SecretStr(text) if text else Unset()


def key_id(key: Any, index: int) -> Any:
    """The id of a key in the file: its own, else `main` for the first, `key2` for the second and so on."""
    own = key.get("id") if isinstance(key, Mapping) else None
    return own if own is not None else "main" if index == 0 else f"key{index + 1}"


def key_entry(key: Any, index: int) -> Any:
    """One item of `keys` as a mapping with an id; a text is the value of a key."""
    if isinstance(key, Mapping):
        return {"id": key_id(key, index), **key} if "id" not in key else key
    if key is None or isinstance(key, str | SecretStr | Unset):
        return {"id": key_id(key, index), "value": key}
    return key


KeyValue = Annotated[
    SecretStr | Unset,
    PlainValidator(_key_value),
    WithJsonSchema({"type": ["string", "null"], "format": "password", "writeOnly": True}),
]


class LimitSettings(Section):
    """Rate limits of one model with one key."""

    rpm: Integer | None = Field(default=None, ge=1, description="Requests per minute.")
    tpm: Integer | None = Field(default=None, ge=1, description="Tokens per minute.")
    rpd: Integer | None = Field(default=None, ge=1, description="Requests per day.")
    tpd: Integer | None = Field(default=None, ge=1, description="Tokens per day.")
    concurrency: Integer | None = Field(default=None, ge=1, description="Concurrent calls.")


class KeySettings(Section):
    """One key of a provider."""

    at: ClassVar[str | None] = "providers.*.keys[]"

    id: Identifier = Field(default="main", description="The key's name in logs, metrics and `router.key_id`.")
    value: KeyValue = Field(
        description="The secret, usually `${VARIABLE}`; an unset or empty variable disables the key."
    )
    weight: Number = Field(
        default=1, gt=0, description="The key's share of calls, relative to the provider's other keys."
    )
    limits: LimitSettings = Field(
        default=LimitSettings.model_construct(), description="The limits of this key, counted for each model."
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Accept a text as a key with that value."""
        described = handler.resolve_ref_schema(handler(schema))
        return {"anyOf": [{"type": "string"}, dict(described)]}
