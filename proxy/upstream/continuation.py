"""Continuation of broken streams: another target writes the rest, and the client receives one answer.

    first target   "The capital of France"  X           the text sent so far is kept, if it is only text
    next target                             " is Paris."    receives the call with that text as the last message

Only plain text can be continued, and only by a target with the capability `prefill`. The attempts go through the
attempt loop, so that retry budget, limits, breakers and queue time apply as before the commit point. `joint.py` joins
the two streams. This happens once per call: if the continuation breaks off too, the client receives the error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from msgspec import structs

from proxy.core.body import parse
from proxy.core.call import Call
from proxy.core.clock import Clock
from proxy.core.errors import ProxyError
from proxy.core.estimate import estimate_tokens
from proxy.core.failures import UpstreamFailure
from proxy.core.json_text import compact
from proxy.core.plan import Target
from proxy.core.record import Continued, Outcome
from proxy.core.spans import Span, edit
from proxy.core.usage import Usage
from proxy.upstream.attempt import Attempt
from proxy.upstream.joint import Joint, SentText
from proxy.upstream.relay import Relay
from proxy.upstream.run import FailedTarget, Run
from proxy.upstream.transport import Drain, Feed

PREFILL = "prefill"
_CEILINGS = ("max_completion_tokens", "max_tokens")
_MORE_THAN_TEXT = (
    "tools",
    "functions",
    "logprobs",
    "top_logprobs",
    "audio",
    "web_search_options",
    # local servers' names for structured output, which would start anew in the middle
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "structured_outputs",
    "grammar",
    "json_schema",
)

_REFUSING = (400, 403, 413, 422)
_FILTERS = ("content_filter", "content_policy_violation")


class AttemptLoop(Protocol):
    """The attempt loop, implemented by `proxy.upstream.executor`."""

    clock: Clock

    async def first(self, run: Run) -> Attempt:
        """Return the first attempt that reaches its commit point. Raises `ProxyError` if none does."""
        ...


def may_continue(run: Run, target: Target) -> bool:
    """Return whether another target could continue a broken answer of `target`."""
    call = run.call
    wanted = call.snapshot.mid_stream == "continue" and call.stream and call.endpoint == "chat"
    return wanted and _asks_for_text(call, target) and bool(_able(run))


class Continuation:
    """The `Rescue` of one call, whose `broken` attempt was relayed until it broke off."""

    def __init__(self, loop: AttemptLoop, broken: Attempt) -> None:
        self._loop = loop
        self._run = broken.run
        self._broken = broken
        self._sent = SentText()

    def saw(self, out: bytes) -> None:
        """Record events that were sent to the client."""
        self._sent.read(out)

    async def relay(self, failure: UpstreamFailure, write: Feed, drain: Drain) -> bool:
        """Write the events of the continuation; return `False` if no target can continue or all attempts fail."""
        targets = self._targets()
        if not self._sent.plain or not targets or not self._run.attempts or self._is_refusal(failure):
            return False
        text = self._sent.text
        tokens = estimate_tokens(text)
        targets = [replace(target, overrides=_shortened(target.overrides, tokens)) for target in targets]
        before, plan = self._run, self._run.plan
        run = Run(
            before.clock,
            continued(before.call, text.rstrip(), tokens),
            replace(plan, targets=tuple(targets), count_input=lambda: plan.input_tokens + tokens),
            before.record,
            targets,
            before.attempts,
            before.patience,
            since=before.clock.monotonic(),
            failed_targets=[FailedTarget(self._broken.target.deployment, failure)],
            outgrown=before.outgrown,
            may_force=False,
        )
        return await self._relay(run, text, tokens, write, drain)

    def _is_refusal(self, failure: UpstreamFailure) -> bool:
        """Return whether the upstream refused the content, which then must not be sent to another target."""
        refuses = failure.status in _REFUSING or (failure.code or "").lower() in _FILTERS
        return refuses and not self._run.plan.content_fallback

    def _targets(self) -> list[Target]:
        """Return the targets that can continue: the broken one only if it is the only one, attempted ones last."""
        able, left, broken = _able(self._run), self._run.targets, self._broken.target.deployment.name
        others = [target for target in able if target.deployment.name != broken]
        return sorted(others, key=lambda target: target not in left) or able

    async def _relay(self, run: Run, text: str, tokens: int, write: Feed, drain: Drain) -> bool:
        record = run.record
        before = record.chosen, record.dropped, record.upstream_request_id
        first_token = record.timings.first_token
        used = self._charge(tokens)
        await self._broken.close()  # frees the connection and the reservations
        try:
            attempt = await self._loop.first(run)
        except ProxyError:
            record.chosen, record.dropped, record.upstream_request_id = before
            return False
        try:
            record.end(Outcome.STARTED)
            deployment = attempt.target.deployment
            record.continued = Continued(deployment.provider.name, deployment.model, len(text))
            relay = Relay(attempt, self._loop.clock)
            record.timings.first_token = first_token
            joint = Joint(self._sent.head, text, used, record.continued)

            def write_joined(data: bytes) -> bool:
                out = joint.feed(data)
                return write(out) if out else True

            await relay.run(write_joined, drain)
        finally:
            await attempt.close()
        if out := joint.end():
            write(out)
        return True

    def _charge(self, tokens: int) -> Usage:
        """Estimate the usage of the broken attempt, because most upstreams report it only at the end."""
        entry = self._broken.entry
        counted = self._broken.decoder.usage or Usage()
        entry.usage = structs.replace(
            counted,
            input=counted.input or self._run.plan.input_tokens,
            output=max(counted.output, tokens),
            source="estimated",
        )
        return entry.usage


def continued(call: Call, text: str, tokens: int) -> Call:
    """Return the call with `text` as the assistant's last message and its output limits lowered by `tokens`.

    `text` must not end with white space, which some APIs reject there; an empty one adds no message.
    """
    spans = call.spans or parse(call.raw).spans
    body = _shortened(call.body, tokens)
    edits = {name: compact(value) for name, value in body.items() if value is not call.body[name]}
    if text:
        message = {"role": "assistant", "content": text}
        body["messages"] = [*call.body["messages"], message]
        place = spans["messages"]
        edits["messages"] = call.raw[place.value : place.end - 1] + b"," + compact(message) + b"]"
    return replace(call, raw=edit(call.raw, spans, edits), body=body, spans=_moved(spans, edits), native=None)


def _moved(spans: Mapping[str, Span], edits: Mapping[str, bytes]) -> dict[str, Span]:
    """Return the spans of the members after the edits."""
    moved, shift = {}, 0
    for name, span in sorted(spans.items(), key=lambda item: item[1]):
        grown = len(edits[name]) - (span.end - span.value) if name in edits else 0
        moved[name] = Span(span.key + shift, span.value + shift, span.end + shift + grown)
        shift += grown
    return moved


def _shortened(parameters: Mapping[str, Any], tokens: int) -> dict[str, Any]:
    """Return the parameters with their output limits lowered by `tokens`."""
    lowered = {
        name: max(1, parameters[name] - tokens)
        for name in _CEILINGS
        if isinstance(parameters.get(name), int) and parameters[name] > 0 and not isinstance(parameters[name], bool)
    }
    return {**parameters, **lowered}


def _able(run: Run) -> list[Target]:
    """Return the targets with the capability `prefill`; unknown capabilities exclude a target."""
    return [
        target
        for target in run.plan.targets
        if PREFILL in (target.deployment.capabilities or ()) and _asks_for_text(run.call, target)
    ]


def _asks_for_text(call: Call, target: Target) -> bool:
    """Return whether the answer can only be one text, without a prefilled beginning."""
    body = {**call.body, **target.overrides}
    form = body.get("response_format")
    return (
        not any(body.get(name) for name in _MORE_THAN_TEXT)
        and body.get("n") in (None, 1)
        and (not form or (isinstance(form, Mapping) and form.get("type") == "text"))
        and body.get("modalities") in (None, [], ["text"])
        and body["messages"][-1]["role"] != "assistant"
    )
