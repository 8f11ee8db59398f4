"""The access line of a call: a few values when the call ends, a line of JSON when the log writer gets to it.

`docs/metrics.md` documents the fields: ids, names and numbers, no content and no credential.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

from msgspec import Struct

from proxy.core.model import Deployment
from proxy.core.money import usd
from proxy.core.record import AttemptRecord, Rating

_ACCESS = logging.getLogger("proxy.access")
LONGEST = 256  # characters of a name
_BOOLEANS = {True: "true", False: "false", None: "null"}
_MOST_CACHED = 1024  # texts of names; clients can name models


class AccessLine(Struct, frozen=True, gc=False):
    """The values of one access line, names cut at `LONGEST`. They keep neither request nor answer in memory."""

    time: float  # seconds since the epoch
    id: str
    request_id: str
    client_id: str | None
    model: str | None
    route: str | None
    chosen: Deployment | None
    stream: bool | None
    status: int
    outcome: str
    code: str | None
    attempts: Sequence[AttemptRecord]
    input_tokens: int | None
    output_tokens: int | None
    cost_nusd: int | None
    seconds: float
    first_token_seconds: float | None
    queue_seconds: float
    predicted_queue_seconds: float
    overhead_seconds: float
    continued_after: int | None  # characters
    rating: Rating | None

    def fields(self) -> dict[str, Any]:
        """Return the fields of the line; its time, level and event come before them."""
        chosen, first = self.chosen, self.first_token_seconds
        return {
            "id": self.id,
            "request_id": self.request_id,
            "client_id": self.client_id,
            "model": self.model,
            "route": self.route,
            "provider": chosen.labels[0] if chosen else None,
            "upstream_model": chosen.model[:LONGEST] if chosen else None,
            "stream": self.stream,
            "status": self.status,
            "outcome": self.outcome,
            "code": self.code,
            "attempts": [_attempt_fields(attempt) for attempt in self.attempts],
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost_usd": None if self.cost_nusd is None else usd(self.cost_nusd),
            "ms": round(self.seconds * 1000, 1),
            "ttft_ms": None if first is None else round(first * 1000, 1),
            "waited_ms": round(self.queue_seconds * 1000, 1),
            "predicted_wait_ms": round(self.predicted_queue_seconds * 1000, 1),
            "overhead_ms": round(self.overhead_seconds * 1000, 3),
            **({} if self.continued_after is None else {"continued_after": self.continued_after}),
            **({} if self.rating is None else {"rating": self.rating.score, "rating_reasons": self.rating.reasons}),
        }


def log_access(line: AccessLine) -> None:
    """Log a line through `logging`, for programs that have no log writer."""
    _ACCESS.info("call", extra={"fields": line.fields()})


class AccessLineEncoder:
    """Encodes access lines exactly as the module `json` encodes their fields, in half of the time; for one thread."""

    def __init__(self) -> None:
        self._second = -1
        self._date = ""  # and time of day of that second
        self._names: dict[tuple[str | None, str | None, str | None, str | None], str] = {}
        self._attempts: dict[tuple[str, str, str | None], str] = {}

    def encode(self, line: AccessLine) -> str:
        """Return the line in ASCII, without a line feed."""
        first, nusd, client, code = line.first_token_seconds, line.cost_nusd, line.client_id, line.code
        tokens_in, tokens_out, continued = line.input_tokens, line.output_tokens, line.continued_after
        second = int(line.time)
        if second != self._second:
            self._second, self._date = second, datetime.fromtimestamp(second, UTC).isoformat()[:19]
        tried = ", ".join([self._attempt(attempt) for attempt in line.attempts])
        return (
            f'{{"time": "{self._date}.{int((line.time - second) * 1000):03}+00:00", "level": "info", "event": "call", '
            f'"id": {quoted(line.id)}, "request_id": {quoted(line.request_id)}, '
            f'"client_id": {"null" if client is None else quoted(client)}, {self._names_of(line)}, '
            f'"stream": {_BOOLEANS[line.stream]}, "status": {line.status}, "outcome": "{line.outcome}", '
            f'"code": {"null" if code is None else quoted(code)}, "attempts": [{tried}], '
            f'"input_tokens": {"null" if tokens_in is None else tokens_in}, '
            f'"output_tokens": {"null" if tokens_out is None else tokens_out}, '
            f'"cost_usd": {"null" if nusd is None else usd(nusd)}, "ms": {line.seconds * 1000:.1f}, '
            f'"ttft_ms": {"null" if first is None else _ms(first)}, '
            f'"waited_ms": {_ms(line.queue_seconds)}, '
            f'"predicted_wait_ms": {_ms(line.predicted_queue_seconds)}, '
            f'"overhead_ms": {_decimal(line.overhead_seconds * 1000)}'
            + ("" if continued is None else f', "continued_after": {continued}')
            + ("}" if line.rating is None else _rating(line.rating))
        )

    def _names_of(self, line: AccessLine) -> str:
        """Return the four fields from `model` to `upstream_model`."""
        chosen = line.chosen
        provider, upstream_model = (chosen.labels[0], chosen.model[:LONGEST]) if chosen else (None, None)
        key = (line.model, line.route, provider, upstream_model)
        text = self._names.get(key)
        if text is None:
            text = (
                f'"model": {_text(line.model)}, "route": {_text(line.route)}, '
                f'"provider": {_text(provider)}, "upstream_model": {_text(upstream_model)}'
            )
            _keep(self._names, key, text)
        return text

    def _attempt(self, attempt: AttemptRecord) -> str:
        deployment = attempt.deployment
        key = (deployment.labels[0], deployment.model[:LONGEST], attempt.key_id)
        start = self._attempts.get(key)
        if start is None:
            provider, model, key_id = map(_text, key)
            start = f'{{"provider": {provider}, "model": {model}, "key": {key_id}'
            _keep(self._attempts, key, start)
        status, ended = attempt.status, attempt.ended
        ms = "0.0" if ended is None else f"{(ended - attempt.started) * 1000:.1f}"
        text = f'{start}, "outcome": "{attempt.outcome}", "status": {"null" if status is None else status}, "ms": {ms}'
        if attempt.cause:
            text += f', "cause": {quoted(attempt.cause)}, "error": {quoted(attempt.error or "")}'
        return text + "}"


def _rating(rating: Rating) -> str:
    reasons = ", ".join([quoted(reason) for reason in rating.reasons])
    return f', "rating": {rating.score}, "rating_reasons": [{reasons}]}}'


def _attempt_fields(attempt: AttemptRecord) -> dict[str, Any]:
    return {
        "provider": attempt.deployment.labels[0],
        "model": attempt.deployment.model[:LONGEST],
        "key": attempt.key_id,
        "outcome": attempt.outcome,
        "status": attempt.status,
        "ms": round(attempt.ms, 1),
        **({"cause": attempt.cause, "error": attempt.error} if attempt.cause else {}),
    }


def _text(text: str | None) -> str:
    """Return a name as JSON in ASCII, which every stream can encode, even lone surrogates."""
    return "null" if text is None else quoted(text)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f}" if seconds else "0.0"


def _decimal(value: float) -> str:
    """Return a number with at most three decimals, as `round` and `repr` show it."""
    text = f"{value:.3f}"
    if text[-1] != "0":
        return text
    text = text.rstrip("0")
    return text + "0" if text[-1] == "." else text


def _keep(texts: dict[Any, str], key: Any, text: str) -> None:
    if len(texts) >= _MOST_CACHED:
        texts.clear()
    texts[key] = text
