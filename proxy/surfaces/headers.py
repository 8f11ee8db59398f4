"""The headers of every answer: which call it was, and what was decided."""

from __future__ import annotations

import re
from collections.abc import Mapping

from proxy.core.record import Record

_SANE = re.compile(r"[\x21-\x7e]{1,128}")
FORWARDED = ("content-type", "accept", "openai-beta", "anthropic-beta", "traceparent", "idempotency-key")


def sane_id(text: str | None) -> str | None:
    """Return a client's request id if it can be echoed: up to 128 visible ASCII characters."""
    return text if text and _SANE.fullmatch(text) else None


def forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the client's headers that go upstream, without values that are not plain ASCII. Names are lower case."""
    passed = {}
    for name in FORWARDED:
        if name in headers:
            value = headers[name]
            if value.isascii() and value.isprintable():
                passed[name] = value
    return passed


def call_headers(record: Record, now: float) -> dict[str, str]:
    """`x-router-*` and ids. `now` is monotonic seconds; overhead is what was neither an upstream's nor the client's."""
    elapsed, overhead = now - record.timings.started, record.timings.overhead(now)
    headers = {
        "x-router-id": record.id,
        "x-request-id": record.request_id,
        "x-router-cache": "bypass",
        "x-router-attempts": str(len(record.attempts)),
        "x-router-overhead-ms": f"{overhead * 1000:.3f}",
        "openai-processing-ms": str(round(elapsed * 1000)),
    }
    if record.plan:
        headers["x-router-route"] = _visible(record.plan.route)
        headers["x-router-reason"] = _visible(_reason(record))
    if record.chosen:
        headers["x-router-provider"] = record.chosen.provider.name
        headers["x-router-model"] = _visible(record.chosen.model)
        if record.chosen.provider.stand_in:
            headers["x-router-mock"] = "1"
    if record.dropped:
        headers["x-router-dropped"] = _visible(",".join(record.dropped))
    if record.upstream_request_id:
        headers["x-router-upstream-request-id"] = _visible(record.upstream_request_id)
    return headers


def _reason(record: Record) -> str:
    """Why the first target was first, and why another one answered."""
    reason = record.plan.reason if record.plan else ""
    first = record.plan.targets[0].deployment.name if record.plan and record.plan.targets else None
    if record.chosen is None or record.chosen.name == first:
        return reason
    failed = [attempt.outcome for attempt in record.attempts if attempt.deployment.name == first]
    return f"{reason}; fell back from `{first}`: {failed[-1] if failed else 'not available'}"


def _visible(text: str) -> str:
    """One line of printable ASCII, at most 256 characters; every other character becomes `?`."""
    if text.isascii() and text.isprintable():
        return text[:256]
    return "".join(char if " " <= char <= "~" else "?" for char in text)[:256]
