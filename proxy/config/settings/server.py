"""The section `server`: the HTTP server, its timeouts and limits, and which hosts and web pages may use it."""

import re
from ipaddress import ip_network
from typing import ClassVar

from pydantic import Field, field_validator

from proxy.config.settings.base import Integer, Section
from proxy.config.settings.units import Duration, PositiveDuration, Size

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
_HOST = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*\.?", re.ASCII)
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", re.ASCII)
_HEADER = re.compile(r"\*|[a-z0-9!#$%&'+.^_`|~-]+\*?", re.ASCII)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class CorsSettings(Section):
    """Access for web pages of other origins."""

    at: ClassVar[str | None] = "server.cors"

    origins: tuple[str, ...] = Field(default=(), description="Origins allowed to call; `*`: any origin.")
    headers: tuple[str, ...] = Field(
        default=(), description="Request headers allowed in addition to those of the SDKs; `*`: any."
    )
    max_age: Duration = Field(
        default=600.0, description="How long a browser may cache the answer to a preflight request."
    )

    @field_validator("origins", mode="after")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        origins = tuple(origin.lower().rstrip("/") for origin in value)
        for origin in origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    "must contain origins such as `https://app.example` or `http://localhost:3000`, or `*`"
                )
        return tuple(origin.removesuffix(_DEFAULT_PORTS.get(origin.partition(":")[0], "/")) for origin in origins)

    @field_validator("headers", mode="after")
    @classmethod
    def _headers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(name.lower() for name in value)
        if not all(map(_HEADER.fullmatch, names)):
            raise ValueError("must contain header names such as `x-tenant` or `x-app-*`, or `*`")
        return names


class ServerSettings(Section):
    """The HTTP server."""

    at: ClassVar[str | None] = "server"

    host: str = Field(default="127.0.0.1", min_length=1, description="The address to listen on.")
    port: Integer = Field(default=8080, ge=0, le=65535, description="The port to listen on; 0: any free port.")
    workers: Integer = Field(default=1, ge=1, description="The number of worker processes.")
    max_body: Size = Field(default=32 * 1024 * 1024, ge=1, description="The largest request body.")
    drain: Duration = Field(default=30.0, description="How long calls may continue after SIGTERM.")
    header_timeout: PositiveDuration = Field(
        default=10.0, description="How long a client may take to send its headers."
    )
    write_stall: PositiveDuration = Field(
        default=30.0, description="How long a client may read nothing before it is disconnected."
    )
    stream_keep_alive: Duration = Field(
        default=15.0, description="Send a comment after a stream has been silent for this long; 0: never."
    )
    early_comments: Duration = Field(
        default=0.0,
        description="Open a stream with a comment if it has no content after this time; 0: never.",
    )
    keep_alive: Duration = Field(default=75.0, description="How long an idle client connection is kept open.")
    max_in_flight: Integer = Field(default=10_000, ge=1, description="The maximum number of concurrent calls.")
    memory_watermark: Size = Field(
        default=0, description="Reject new calls above this memory use; 0: 85 % of the cgroup's limit, if it has one."
    )
    trusted_proxies: tuple[str, ...] = Field(default=(), description="Addresses whose forwarded headers are trusted.")
    cors: CorsSettings = Field(
        default=CorsSettings.model_construct(), description="Access for web pages of other origins."
    )
    hosts: tuple[str, ...] = Field(
        default=(),
        description="Accepted `Host` names; empty: all, or only loopback names when listening on loopback.",
    )

    @field_validator("hosts", mode="after")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        hosts = tuple(host.lower() for host in value)
        if not all(map(_HOST.fullmatch, hosts)):
            raise ValueError("must contain names without scheme and port, such as `llm.example` or `*.example`")
        return tuple(host.rstrip(".") for host in hosts)

    @field_validator("trusted_proxies", mode="after")
    @classmethod
    def _proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            try:
                ip_network(address, strict=False)
            except ValueError:
                raise ValueError("must contain addresses or networks such as `10.0.0.1` or `10.0.0.0/8`") from None
        return value
