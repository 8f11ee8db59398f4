"""The sections `providers` and `models`: addresses, keys, limits, prices and capabilities."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    GetJsonSchemaHandler,
    PlainValidator,
    SecretStr,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from proxy.catalogue.entry import EFFORTS
from proxy.catalogue.lookup import named, names
from proxy.config.base import Integer, Number, Section, is_json
from proxy.config.certificates import certificates
from proxy.config.errors import suggestion
from proxy.config.units import Duration, PositiveDuration
from proxy.core.model import Kind, Tier

Fault = Literal["error", "timeout", "slow", "cut", "bad_json"]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
Price = Annotated[Decimal, Field(ge=0, le=1_000_000, allow_inf_nan=False)]

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]*", re.ASCII)
_FRAMING = ("connection", "content-length", "host", "transfer-encoding")
_MOCK_ONLY = ("seed", "latency", "failure_rate", "faults", "tokens")
_KEPT = ("messages", "model", "stream", "input", "prompt", "file", "router")  # every call needs these
NATIVE_ADDRESSES = {"anthropic": "https://api.anthropic.com", "gemini": "https://generativelanguage.googleapis.com"}
_VERTEX = "https://aiplatform.googleapis.com/v1/projects/my-project/locations/global/publishers/google"
_KEY_HEADERS = {"anthropic": "x-api-key", "gemini": "x-goog-api-key"}


@dataclass(frozen=True, slots=True)
class Unset:
    """The missing value of a key, with the names of the unset variables."""

    variables: tuple[str, ...] = ()


def _key_value(value: Any) -> SecretStr | Unset:
    """Check a key's value: a text that is valid in a header, or `Unset`."""
    if isinstance(value, Unset):
        return value
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if text is None:
        return Unset()
    if not isinstance(text, str):
        raise ValueError("must be a text, such as `${OPENAI_API_KEY}`")
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


def _key(key: Any, index: int) -> Any:
    if isinstance(key, Mapping):
        return {"id": key_id(key, index), **key} if "id" not in key else key
    if key is None or isinstance(key, str | SecretStr | Unset):
        return {"id": key_id(key, index), "value": key}
    return key


def _header_name(name: str) -> str:
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError("must be a header name, such as `authorization` or `api-key`")
    if name.lower() in _FRAMING:
        raise ValueError(f"must not be `{name.lower()}`, which is reserved for the connection")
    return name.lower()


def _proxy(value: SecretStr) -> SecretStr:
    parts = urlsplit(value.get_secret_value())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be the URL of a proxy, such as `http://proxy.example:3128`")
    return value


def _ca_file(path: str) -> str:
    certificates(path)
    return path


def _address(url: str) -> str:
    """Check an address and strip white space and trailing slashes; `{model}` stands for the model's id."""
    url = url.strip()
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or re.search(r"[\s\x00-\x1f\x7f\\]", url):
        raise ValueError("must be an http or https URL, such as `https://api.openai.com/v1`")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not contain a user name or password; send them with `headers`")
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        raise ValueError("must not have a query or a fragment; a version belongs in `api_version`")
    if re.search(r"[{}]", url.replace("{model}", "")) or re.search(r"[{}]", parts.netloc):
        raise ValueError("must not contain braces, except the placeholder `{model}` in its path")
    return url.rstrip("/")


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


class TimeoutSettings(Section):
    """The timeouts of an attempt."""

    connect: PositiveDuration = Field(default=5.0, description="The time to make a connection.")
    first_token: PositiveDuration = Field(default=120.0, description="The time to the first content of a stream.")
    idle: PositiveDuration = Field(default=60.0, description="The longest gap between two parts of a stream.")
    total: PositiveDuration = Field(default=600.0, description="The time for the whole attempt.")


class TimeoutOverrides(Section):
    """Timeouts of a model; absent ones are the provider's."""

    connect: PositiveDuration | None = Field(default=None, description="The time to make a connection.")
    first_token: PositiveDuration | None = Field(default=None, description="The time to the first content of a stream.")
    idle: PositiveDuration | None = Field(default=None, description="The longest gap between two parts of a stream.")
    total: PositiveDuration | None = Field(default=None, description="The time for the whole attempt.")


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
        default=LimitSettings(), description="The limits of this key, counted for each model."
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Accept a text as a key with that value."""
        described = handler.resolve_ref_schema(handler(schema))
        return {"anyOf": [{"type": "string"}, dict(described)]}


class ProviderSettings(Section):
    """An API that serves models."""

    at: ClassVar[str | None] = "providers.*"

    dialect: Literal["openai", "anthropic", "gemini", "mock"] = Field(
        default="openai", description="The provider's wire format."
    )
    base_url: Annotated[str, AfterValidator(_address)] | None = Field(
        default=None,
        description="The base URL of the API, often ending in `/v1`; `anthropic` and `gemini` have a default.",
    )
    keys: tuple[KeySettings, ...] = Field(
        default=(),
        description="The keys, which share the calls; none: no credential; all unset: the provider is left out.",
    )
    auth_header: Annotated[str, AfterValidator(_header_name)] = Field(
        default="authorization",
        description="The header that carries the key, `api-key` for Azure; absent: that of the dialect.",
    )
    api_version: str | None = Field(
        default=None, description="Azure: the query parameter `api-version`; Anthropic: the version header."
    )
    any_model: bool = Field(default=False, description="Accept models that are not listed under `models`.")
    headers: dict[str, SecretStr] = Field(default={}, description="Headers added to every request.")
    proxy: Annotated[SecretStr, AfterValidator(_proxy)] | None = Field(
        default=None, description="The URL of an HTTP proxy through which the provider is reached."
    )
    ca_file: Annotated[str, AfterValidator(_ca_file)] | None = Field(
        default=None, description="A PEM file of certificates to trust in addition to the public roots."
    )
    stream_usage: Literal["ask", "never"] = Field(
        default="ask", description="Request token usage for streams whose client does not request it."
    )
    prompt_cache: Literal["off", "auto"] = Field(
        default="off", description="Anthropic only: mark the stable part of prompts for the provider's cache."
    )
    vertex: bool = Field(
        default=False, description="Gemini only: use Vertex paths; `base_url` then ends with `/publishers/google`."
    )
    timeouts: TimeoutSettings = Field(default=TimeoutSettings(), description="The timeouts of an attempt.")
    seed: Integer = Field(default=42, description="Mock only: the seed of answers and faults.")
    latency: Duration = Field(default=0.0, description="Mock only: the delay before the first byte.")
    failure_rate: Number = Field(default=0.0, ge=0, le=1, description="Mock only: the share of calls that fail.")
    faults: tuple[Fault, ...] = Field(default=("error",), min_length=1, description="Mock only: how calls fail.")
    tokens: Integer | None = Field(default=None, ge=1, description="Mock only: the length of an answer.")

    @field_validator("keys", mode="before")
    @classmethod
    def _keys(cls, keys: Any) -> Any:
        """Accept a text as a key with that value; give keys without an id one by position."""
        if not isinstance(keys, list | tuple):
            return keys
        return [_key(key, index) for index, key in enumerate(keys)]

    @field_validator("headers", mode="after")
    @classmethod
    def _headers(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, value in headers.items():
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError("has a name that is not a valid header name")
            if name.lower() in _FRAMING:
                raise ValueError(f"must not set `{name.lower()}`, which is reserved for the connection")
            if not _HEADER_VALUE.fullmatch(value.get_secret_value()):
                raise ValueError(f"has a value under `{name}` that is not valid in a header")
        if len({name.lower() for name in headers}) < len(headers):
            raise ValueError("contains one header twice; header names ignore case, so remove one")
        return {name.lower(): value for name, value in headers.items()}

    @model_validator(mode="after")
    def _fits_its_dialect(self) -> "ProviderSettings":
        for name, dialect, differs in (
            ("prompt_cache", "anthropic", self.prompt_cache != "off"),
            ("vertex", "gemini", self.vertex),
        ):
            if differs and self.dialect != dialect:
                raise ValueError(f"`{name}` is for `dialect: {dialect}` only; remove it")
        if self.dialect == "mock":
            if self.base_url is not None:
                raise ValueError("must not have a `base_url` with `dialect: mock`; remove it")
            return self
        if self.vertex and self.base_url is None:
            raise ValueError(f"`vertex` needs a `base_url`, such as `{_VERTEX}`")
        if self.address is None:
            raise ValueError("needs a `base_url`, such as `https://api.openai.com/v1`")
        if stray := [name for name in _MOCK_ONLY if name in self.model_fields_set]:
            raise ValueError(f"`{stray[0]}` is for `dialect: mock` only; remove it")
        return self

    @property
    def address(self) -> str | None:
        """`base_url`, else the dialect's default URL."""
        return self.base_url or NATIVE_ADDRESSES.get(self.dialect)

    @property
    def key_header(self) -> str:
        """`auth_header`, else the dialect's default header; `authorization` with `vertex`."""
        if "auth_header" in self.model_fields_set or self.vertex:
            return self.auth_header
        return _KEY_HEADERS.get(self.dialect, self.auth_header)


class PriceSettings(Section):
    """A price in USD per million tokens."""

    input: Price = Field(description="USD per million input tokens.")
    cached_input: Price | None = Field(
        default=None, description="USD per million cached input tokens; absent: the price of `input`."
    )
    cache_write: Price | None = Field(
        default=None, description="USD per million tokens written to the cache; absent: the price of `input`."
    )
    output: Price = Field(description="USD per million output tokens.")


class ModelSettings(Section):
    """One model of one provider. Absent values come from the catalogue, if it lists the model."""

    at: ClassVar[str | None] = "models[]"

    id: str = Field(description="`provider/model`; the part after the first `/` is sent to the provider unchanged.")
    kind: Kind = Field(default="chat", description="The kind of endpoint that the model serves.")
    enabled: bool = Field(default=True, description="Use the model.")
    tier: Tier | None = Field(default=None, description="The intelligence tier; absent: no tier.")
    price: PriceSettings | None = Field(default=None, description="The price; absent: unknown.")
    context_window: Integer | None = Field(
        default=None, ge=1, description="The maximum number of tokens of prompt and answer together; absent: unknown."
    )
    max_output: Integer | None = Field(
        default=None, ge=1, description="The maximum number of tokens of an answer; absent: unknown."
    )
    latency: Duration | None = Field(
        default=None, description="The expected time to first content; replaced by measured latency."
    )
    capabilities: tuple[str, ...] | None = Field(
        default=None,
        description="Capabilities such as `tools`, `vision` or `json_schema`; absent: unknown, passes all filters.",
    )
    unsupported: tuple[str, ...] = Field(
        default=(),
        description="OpenAI request parameters that the model rejects; they are dropped. `a+b`: not both together.",
    )
    thinking: dict[str, dict[str, Any]] = Field(
        default={}, description="Request members that enable thinking, for each `reasoning_effort`."
    )
    thinking_off: dict[str, Any] | None = Field(
        default=None, description="Request members that disable thinking; absent: it cannot be disabled."
    )
    specialties: tuple[str, ...] = Field(
        default=(), description="Tasks for which the model is preferred, such as `code` or `writing`."
    )
    like: str | None = Field(
        default=None,
        description="The catalogue model that supplies absent values (`openai/gpt-4o`); absent: by address and id.",
    )
    limits: LimitSettings = Field(default=LimitSettings(), description="The limits of the model, counted for each key.")
    timeouts: TimeoutOverrides = Field(
        default=TimeoutOverrides(), description="Timeouts of the model; they override the provider's."
    )
    quality: Number | None = Field(
        default=None, ge=0, le=1, description="The quality of answers, 0 to 1; absent: derived from the tier."
    )

    @field_validator("id", mode="after")
    @classmethod
    def _id(cls, value: str) -> str:
        provider, _, model = value.partition("/")
        if not provider or not model or re.search(r"[\s\x00-\x1f\x7f]", value) or len(value) > 300:
            raise ValueError("must be `provider/model`, such as `openai/gpt-4o`")
        return value

    @field_validator("like", mode="after")
    @classmethod
    def _like(cls, value: str | None) -> str | None:
        if value is not None and named(value) is None:
            near = suggestion(value, names()) or suggestion(
                value.rpartition("/")[2], [n.partition("/")[2] for n in names()]
            )
            raise ValueError(f"must be a model of the catalogue, such as `openai/gpt-4o`{near}")
        return value

    @field_validator("unsupported", mode="after")
    @classmethod
    def _parameters(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if kept := [name for name in _KEPT if name in value]:
            raise ValueError(f"must not contain `{kept[0]}`, which every call needs; remove it")
        return value

    @field_validator("thinking", mode="after")
    @classmethod
    def _efforts(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for effort in value:
            if effort not in EFFORTS:
                known = ", ".join(f"`{word}`" for word in EFFORTS)
                raise ValueError(f"has an unknown effort; must be one of {known}{suggestion(effort, EFFORTS)}")
        if not is_json(value):
            raise ValueError("has a value that JSON cannot represent")
        return value

    @field_validator("thinking_off", mode="after")
    @classmethod
    def _members(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if not is_json(value):
            raise ValueError("has a value that JSON cannot represent")
        return value
