"""The section `providers`: addresses, keys, headers and timeouts of each provider."""

import re
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from proxy.config.settings.base import Integer, Number, Section
from proxy.config.settings.certificates import certificates
from proxy.config.settings.keys import KeySettings, key_entry
from proxy.config.settings.units import Duration, PositiveDuration
from proxy.core.dialects import DIALECTS, DialectName
from proxy.core.model import UserKeys

Fault = Literal["error", "timeout", "slow", "cut", "bad_json"]

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]*", re.ASCII)
_FRAMING = ("connection", "content-length", "host", "transfer-encoding")
_VERTEX = "https://aiplatform.googleapis.com/v1/projects/my-project/locations/global/publishers/google"


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


class TimeoutSettings(Section):
    """The timeouts of an attempt."""

    connect: PositiveDuration = Field(default=5.0, description="The time to make a connection.")
    first_token: PositiveDuration = Field(default=120.0, description="The time to the first content of a stream.")
    idle: PositiveDuration = Field(default=60.0, description="The longest gap between two parts of a stream.")
    total: PositiveDuration = Field(default=600.0, description="The time for the whole attempt.")


class ProviderSettings(Section):
    """An API that serves models."""

    at: ClassVar[str | None] = "providers.*"

    dialect: DialectName = Field(default="openai", description="The provider's wire format.")
    base_url: Annotated[str, AfterValidator(_address)] | None = Field(
        default=None,
        description="The base URL of the API, often ending in `/v1`; `anthropic` and `gemini` have a default.",
    )
    keys: tuple[KeySettings, ...] = Field(
        default=(),
        description="The keys, which share the calls; none: no credential; all unset: the provider is left out.",
    )
    user_keys: UserKeys | None = Field(
        default=None, description="How users' own keys of this provider are used; absent: `auth.provider_keys`."
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
    responses: Literal["translate", "native"] = Field(
        default="translate",
        description="`openai` only: `native` if the provider has the Responses API, which then receives its calls.",
    )
    prompt_cache: Literal["off", "auto"] = Field(
        default="off", description="Anthropic only: mark the stable part of prompts for the provider's cache."
    )
    vertex: bool = Field(
        default=False, description="Gemini only: use Vertex paths; `base_url` then ends with `/publishers/google`."
    )
    timeouts: TimeoutSettings = Field(
        default=TimeoutSettings.model_construct(), description="The timeouts of an attempt."
    )
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
        return [key_entry(key, index) for index, key in enumerate(keys)]

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
        for dialect, row in DIALECTS.items():
            for name in row.settings if dialect != self.dialect else ():
                value = getattr(self, name)
                if name in self.model_fields_set and value not in (False, "off", "translate"):
                    raise ValueError(f"`{name}` is for `dialect: {dialect}` only; remove it")
        if DIALECTS[self.dialect].local:
            if self.base_url is not None:
                raise ValueError(f"must not have a `base_url` with `dialect: {self.dialect}`; remove it")
            return self
        if self.vertex and self.base_url is None:
            raise ValueError(f"`vertex` needs a `base_url`, such as `{_VERTEX}`")
        if self.address is None:
            raise ValueError("needs a `base_url`, such as `https://api.openai.com/v1`")
        return self

    @property
    def address(self) -> str | None:
        """`base_url`, else the dialect's default URL."""
        return self.base_url or DIALECTS[self.dialect].default_url

    @property
    def key_header(self) -> str:
        """`auth_header`, else the dialect's default header; `authorization` with `vertex`."""
        if "auth_header" in self.model_fields_set or self.vertex:
            return self.auth_header
        return DIALECTS[self.dialect].key_header
