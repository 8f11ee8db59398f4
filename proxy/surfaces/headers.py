"""The headers of every answer: the ids of the call, and what was decided."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from proxy.core.plan import Plan
from proxy.core.record import Record

Headers = bytes  # the lines of headers, each with its end: b"x-router-id: req_1\r\n"

_SANE = re.compile(r"[\x21-\x7e]{1,128}")
FORWARDED = frozenset(("content-type", "accept", "openai-beta", "anthropic-beta", "traceparent", "idempotency-key"))
STREAM_HEADERS: Headers = b"cache-control: no-cache\r\nx-accel-buffering: no\r\n"
_CALL = (
    "x-router-id: %s\r\nx-request-id: %s\r\nx-router-cache: bypass\r\nx-router-attempts: %d\r\n"
    "x-router-overhead-ms: %.3f\r\nopenai-processing-ms: %.0f\r\n"
)
_EARLY = b"x-router-id: %b\r\nx-request-id: %b\r\nx-router-cache: bypass\r\n"  # known before a target answers
_LONGEST = 256  # characters of a value


def sane_id(text: str | None) -> str | None:
    """Return a client's request id if it can be echoed: up to 128 visible ASCII characters."""
    return text if text and _SANE.fullmatch(text) else None


def forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the client's headers that go upstream, without values that are not plain ASCII. Names are lower case."""
    passed = {}
    for name in sorted(FORWARDED & headers.keys()):
        value = headers[name]
        if value.isascii() and value.isprintable():
            passed[name] = value
    return passed


def call_headers(record: Record, now: float) -> Headers:
    """Return ids, times and the decision as far as they are known at `now` (monotonic seconds)."""
    timings, plan, chosen = record.timings, record.plan, record.chosen
    overhead_ms, ms = timings.overhead(now) * 1000, (now - timings.started) * 1000
    headers = (_CALL % (record.id, record.request_id, len(record.attempts), overhead_ms, ms)).encode()
    if plan is not None:
        as_planned = chosen is None or (plan.targets and plan.targets[0].deployment is chosen)
        reason = plan.reason if as_planned else _fallback_reason(record, plan)
        headers += _route_headers(plan.route[:_LONGEST], reason[:_LONGEST])
    if chosen is not None:
        provider = chosen.provider
        headers += _target_headers(provider.name[:_LONGEST], chosen.model[:_LONGEST], provider.stand_in)
    if record.dropped:
        headers += header(b"x-router-dropped", _visible(",".join(record.dropped)[:_LONGEST]))
    if record.exceeded:
        warning = ", ".join([f"{name} exceeded" for name in record.exceeded])
        headers += header(b"x-router-budget", _visible(warning[:_LONGEST]))
    headers += record.limit_headers
    call = record.call
    if call is not None and call.native is not None and call.native.format == "messages":
        headers += header(b"request-id", record.id.encode())  # which Anthropic's SDKs show
    if record.upstream_request_id:
        headers += header(b"x-router-upstream-request-id", _visible(record.upstream_request_id[:_LONGEST]))
    return headers


def answer_headers(record: Record, now: float, upstream: Mapping[str, str], *, stream: bool) -> Headers:
    """Return the headers of a successful answer: those of the call, and those of `upstream` that it does not set."""
    headers = call_headers(record, now)
    for name, value in upstream.items():
        if name != "openai-processing-ms":
            headers += _passed(name, value)
    if stream:
        headers += STREAM_HEADERS
    elif (cost := record.cost_nusd) is not None:
        headers += b"x-router-cost-usd: %b\r\n" % (b"%.9f" % (cost / 1e9)).rstrip(b"0").rstrip(b".")
    return headers


def early_headers(record: Record) -> Headers:
    """Return the headers of a stream that is opened before its target is known."""
    headers = _EARLY % (record.id.encode(), record.request_id.encode())
    if record.plan is not None:
        headers += header(b"x-router-route", _visible(record.plan.route[:_LONGEST]))
    return headers + STREAM_HEADERS


def header(name: bytes, value: bytes) -> Headers:
    """Return one header. Raises `ValueError` if it contains a line break."""
    if b"\n" in value or b"\r" in value or b"\n" in name or b"\r" in name:
        raise ValueError("a response header contains a line break")
    return b"%b: %b\r\n" % (name, value)


def pairs(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return headers as names and values."""
    return [(name, value) for name, _, value in [line.partition(b": ") for line in headers.split(b"\r\n")[:-1]]]


def as_text(headers: Headers) -> dict[str, str]:
    """Return headers as strings, for answers that are errors."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in pairs(headers)}


def _fallback_reason(record: Record, plan: Plan) -> str:
    """Return why the first target was first, and why another one was attempted last."""
    first = plan.targets[0].deployment.name if plan.targets else None
    if record.chosen is None or record.chosen.name == first:
        return plan.reason
    failed = [attempt.outcome for attempt in record.attempts if attempt.deployment.name == first]
    return f"{plan.reason}; fell back from `{first}`: {failed[-1] if failed else 'not available'}"


@lru_cache(1024)  # most texts come from the configuration, or are made of it
def _route_headers(route: str, reason: str) -> Headers:
    return header(b"x-router-route", _visible(route)) + header(b"x-router-reason", _visible(reason))


@lru_cache(100)  # few values differ, and they can be long
def _passed(name: str, value: str) -> Headers:
    return header(name.encode("latin-1"), value.encode("latin-1", "replace"))


@lru_cache(1024)
def _target_headers(provider: str, model: str, stand_in: bool) -> Headers:
    headers = header(b"x-router-provider", _visible(provider)) + header(b"x-router-model", _visible(model))
    return headers + b"x-router-mock: 1\r\n" if stand_in else headers


def _visible(text: str) -> bytes:
    """Return one line of printable ASCII; every other character becomes `?`."""
    if text.isascii() and text.isprintable():
        return text.encode()
    return "".join([char if " " <= char <= "~" else "?" for char in text]).encode()
