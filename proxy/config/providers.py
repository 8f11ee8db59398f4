"""The sections `providers` and `models`: who answers, with which keys, at which price."""

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
from proxy.core.types import Kind, Tier

Fault = Literal["error", "timeout", "slow", "cut", "bad_json"]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
Price = Annotated[Decimal, Field(ge=0, le=1_000_000, allow_inf_nan=False)]

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]*", re.ASCII)
_FRAMING = ("connection", "content-length", "host", "transfer-encoding")
_MOCK_ONLY = ("seed", "latency", "failure_rate", "faults", "tokens")
_KEPT = ("messages", "model", "stream", "input", "prompt", "file", "router")  # never left out
NATIVE_ADDRESSES = {"anthropic": "https://api.anthropic.com", "gemini": "https://generativelanguage.googleapis.com"}
_VERTEX = "https://aiplatform.googleapis.com/v1/projects/my-project/locations/global/publishers/google"
_KEY_HEADERS = {"anthropic": "x-api-key", "gemini": "x-goog-api-key"}


@dataclass(frozen=True, slots=True)
class Unset:
    """A key's value that is not there, with the variables that would have held it."""

    variables: tuple[str, ...] = ()


def _key_value(value: Any) -> SecretStr | Unset:
    """A key's value: a text that a header can carry, or none."""
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
            raise ValueError("must be the key alone; remove `Bearer`, which is added to it")
        raise ValueError("holds a space or a character that no header can carry; check the value for a typing error")
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
        raise ValueError("must be the name of a header, such as `authorization` or `api-key`")
    if name.lower() in _FRAMING:
        raise ValueError(f"must not be `{name.lower()}`, which belongs to the connection")
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
        raise ValueError("must not hold a user name or password; send them with `headers`")
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        raise ValueError("must not have a query or a fragment; a version belongs in `api_version`")
    if re.search(r"[{}]", url.replace("{model}", "")) or re.search(r"[{}]", parts.netloc):
        raise ValueError("may hold the placeholder `{model}` in its path and no other")
    return url.rstrip("/")


KeyValue = Annotated[
    SecretStr | Unset,
    PlainValidator(_key_value),
    WithJsonSchema({"type": ["string", "null"], "format": "password", "writeOnly": True}),
]


class LimitSettings(Section):
    """How much may be asked: of one model with one key, wherever it stands."""

    rpm: Integer | None = Field(default=None, ge=1, description="Requests a minute.")
    tpm: Integer | None = Field(default=None, ge=1, description="Tokens a minute.")
    rpd: Integer | None = Field(default=None, ge=1, description="Requests a day.")
    tpd: Integer | None = Field(default=None, ge=1, description="Tokens a day.")
    concurrency: Integer | None = Field(default=None, ge=1, description="Calls at the same time.")


class TimeoutSettings(Section):
    """How long an attempt may take."""

    connect: PositiveDuration = Field(default=5.0, description="Until the connection stands.")
    first_token: PositiveDuration = Field(default=120.0, description="Until the first content of a stream.")
    idle: PositiveDuration = Field(default=60.0, description="Between two pieces of a stream.")
    total: PositiveDuration = Field(default=600.0, description="For the whole attempt.")


class TimeoutOverrides(Section):
    """A model's own timeouts; what is absent is the provider's."""

    connect: PositiveDuration | None = Field(default=None, description="Until the connection stands.")
    first_token: PositiveDuration | None = Field(default=None, description="Until the first content of a stream.")
    idle: PositiveDuration | None = Field(default=None, description="Between two pieces of a stream.")
    total: PositiveDuration | None = Field(default=None, description="For the whole attempt.")


class KeySettings(Section):
    """One key of a provider."""

    at: ClassVar[str | None] = "providers.*.keys[]"

    id: Identifier = Field(default="main", description="The key's name in logs, metrics and `router.key_id`.")
    value: KeyValue = Field(description="The secret, as a rule `${VARIABLE}`; unset disables the key.")
    weight: Number = Field(default=1, gt=0, description="The key's share of the calls, relative to the others.")
    limits: LimitSettings = Field(default=LimitSettings(), description="What this key may be asked for, of each model.")

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A text stands for a key with that value."""
        described = handler.resolve_ref_schema(handler(schema))
        return {"anyOf": [{"type": "string"}, dict(described)]}


class ProviderSettings(Section):
    """An organisation or server that answers."""

    at: ClassVar[str | None] = "providers.*"

    dialect: Literal["openai", "anthropic", "gemini", "mock"] = Field(
        default="openai", description="The provider's wire format."
    )
    base_url: Annotated[str, AfterValidator(_address)] | None = Field(
        default=None,
        description="Where the API begins, often with `/v1`; `anthropic` and `gemini` have one of their own.",
    )
    keys: tuple[KeySettings, ...] = Field(
        default=(), description="The keys that share the calls; none: keyless; all unset: the provider is left out."
    )
    auth_header: Annotated[str, AfterValidator(_header_name)] = Field(
        default="authorization",
        description="The header that carries the key, `api-key` for Azure; absent: what the dialect is used to.",
    )
    api_version: str | None = Field(
        default=None, description="Azure: the `api-version` query parameter; Anthropic: its header."
    )
    any_model: bool = Field(
        default=False, description="Whether models that are not listed may be named; the catalogue knows some of them."
    )
    headers: dict[str, SecretStr] = Field(default={}, description="Headers that are added to every request.")
    proxy: Annotated[SecretStr, AfterValidator(_proxy)] | None = Field(
        default=None, description="The URL of an HTTP proxy on the way to the provider."
    )
    ca_file: Annotated[str, AfterValidator(_ca_file)] | None = Field(
        default=None, description="A PEM file with certificates that are trusted beside the public roots."
    )
    stream_usage: Literal["ask", "never"] = Field(
        default="ask", description="Whether to ask streams for their token usage."
    )
    prompt_cache: Literal["off", "auto"] = Field(
        default="off", description="Anthropic only: whether a prompt's stable part is marked for the provider's cache."
    )
    vertex: bool = Field(
        default=False, description="Gemini only: Vertex's paths, with a `base_url` up to `/publishers/google`."
    )
    timeouts: TimeoutSettings = Field(default=TimeoutSettings(), description="How long an attempt may take.")
    seed: Integer = Field(default=42, description="Mock only: the seed of answers and faults.")
    latency: Duration = Field(default=0.0, description="Mock only: how long it waits before it answers.")
    failure_rate: Number = Field(default=0.0, ge=0, le=1, description="Mock only: the share of calls that fail.")
    faults: tuple[Fault, ...] = Field(default=("error",), min_length=1, description="Mock only: how calls fail.")
    tokens: Integer | None = Field(default=None, ge=1, description="Mock only: the length of an answer.")

    @field_validator("keys", mode="before")
    @classmethod
    def _keys(cls, keys: Any) -> Any:
        """A text stands for a key with that value; a key without an id gets one by its place."""
        if not isinstance(keys, list | tuple):
            return keys
        return [_key(key, index) for index, key in enumerate(keys)]

    @field_validator("headers", mode="after")
    @classmethod
    def _headers(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, value in headers.items():
            if not _HEADER_NAME.fullmatch(name):
                raise ValueError("has a name that no header can have")
            if name.lower() in _FRAMING:
                raise ValueError(f"must not set `{name.lower()}`, which belongs to the connection")
            if not _HEADER_VALUE.fullmatch(value.get_secret_value()):
                raise ValueError(f"has a value under `{name}` that no header can carry")
        if len({name.lower() for name in headers}) < len(headers):
            raise ValueError("names one header twice; upper and lower case are the same")
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
                raise ValueError("needs no `base_url`: `dialect: mock` answers without a network; remove it")
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
        """`base_url`, or where the dialect's own provider is."""
        return self.base_url or NATIVE_ADDRESSES.get(self.dialect)

    @property
    def key_header(self) -> str:
        """`auth_header`, or the one that the dialect's own provider reads; Vertex reads bearer tokens."""
        if "auth_header" in self.model_fields_set or self.vertex:
            return self.auth_header
        return _KEY_HEADERS.get(self.dialect, self.auth_header)


class PriceSettings(Section):
    """USD per million tokens."""

    input: Price = Field(description="USD per million input tokens.")
    cached_input: Price | None = Field(
        default=None, description="USD per million cached input tokens; absent: as `input`."
    )
    cache_write: Price | None = Field(
        default=None, description="USD per million cached tokens when written; absent: as `input`."
    )
    output: Price = Field(description="USD per million output tokens.")


class ModelSettings(Section):
    """One model at one provider. What is not set here comes from the catalogue, where it knows the model."""

    at: ClassVar[str | None] = "models[]"

    id: str = Field(description="`provider/model`; the model's part is sent to the provider as it is.")
    kind: Kind = Field(default="chat", description="What the model is called for.")
    enabled: bool = Field(default=True, description="Whether the model may be used.")
    tier: Tier | None = Field(default=None, description="Its intelligence tier; absent: in no tier.")
    price: PriceSettings | None = Field(default=None, description="What it costs; absent: unknown.")
    context_window: Integer | None = Field(
        default=None, ge=1, description="Tokens of prompt and answer together; absent: unknown."
    )
    max_output: Integer | None = Field(
        default=None, ge=1, description="Tokens that an answer may have; absent: unknown."
    )
    latency: Duration | None = Field(default=None, description="Expected time to answer; measured latency replaces it.")
    capabilities: tuple[str, ...] | None = Field(
        default=None,
        description="What it can do, such as `tools`, `vision` or `json_schema`; absent: unknown, passes all filters.",
    )
    unsupported: tuple[str, ...] = Field(
        default=(),
        description="OpenAI's request parameters that the model refuses: dropped and named. `a+b`: not both at once.",
    )
    thinking: dict[str, dict[str, Any]] = Field(
        default={}, description="Members of the provider's request that ask for thinking, by `reasoning_effort`."
    )
    thinking_off: dict[str, Any] | None = Field(
        default=None, description="Members of the provider's request that switch thinking off; absent: it cannot be."
    )
    specialties: tuple[str, ...] = Field(
        default=(), description="Tasks that it is preferred for, such as `code` or `writing`."
    )
    like: str | None = Field(
        default=None,
        description="The catalogue's model that it is, such as `openai/gpt-4o`; absent: by address and id.",
    )
    limits: LimitSettings = Field(default=LimitSettings(), description="What may be asked of it with each key.")
    timeouts: TimeoutOverrides = Field(default=TimeoutOverrides(), description="Its own timeouts, over the provider's.")
    quality: Number | None = Field(
        default=None, ge=0, le=1, description="How good its answers are, 0 to 1; absent: by tier."
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
            raise ValueError(f"must not hold `{kept[0]}`, without which there is no call")
        return value

    @field_validator("thinking", mode="after")
    @classmethod
    def _efforts(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for effort in value:
            if effort not in EFFORTS:
                known = ", ".join(f"`{word}`" for word in EFFORTS)
                raise ValueError(f"has an effort that is none of {known}{suggestion(effort, EFFORTS)}")
        if not is_json(value):
            raise ValueError("has a value that JSON cannot express")
        return value

    @field_validator("thinking_off", mode="after")
    @classmethod
    def _members(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if not is_json(value):
            raise ValueError("has a value that JSON cannot express")
        return value
