"""What a process needs of the configuration when it starts, as plain data; the rest is in the snapshot."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class CorsPolicy:
    """Access for web pages of other origins; the times are in seconds."""

    origins: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    max_age: float = 600.0


@dataclass(frozen=True, slots=True)
class ServerPolicy:
    """The section `server`; the times are in seconds, the sizes in bytes."""

    host: str
    port: int
    max_body: int
    drain: float
    header_timeout: float
    write_stall: float
    stream_keep_alive: float
    early_comments: float
    keep_alive: float
    memory_watermark: int
    trusted_proxies: tuple[str, ...]
    hosts: tuple[str, ...]
    cors: CorsPolicy


@dataclass(frozen=True, slots=True)
class ProcessPolicy:
    """The settings of a process that a reload does not change."""

    server: ServerPolicy
    data_dir: str
    store: str = field(repr=False)  # a URL may contain a password
    state: str = field(repr=False)
    store_required: bool  # calls are rejected while the store does not answer
    state_required: bool
    encryption_keys: tuple[str, ...] = field(repr=False)  # the first encrypts, all of them decrypt
    secrets: tuple[str, ...] = field(repr=False)  # the proxy's own, which are removed from answers
