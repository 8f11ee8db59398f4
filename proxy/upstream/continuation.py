"""Continuation of broken streams: another target writes the rest, and the client receives one answer.

    first target   "The capital of France"  X           the text sent so far is kept, if it is only text
    next target                             " is Paris."    receives the call with that text as the last message

Only plain text can be continued, and only by a target with the capability `prefill`. The attempts go through the
attempt loop, so that retry budget, limits, breakers and queue time apply as before the commit point. `joint.py` joins
the two streams. This happens once per call: if the continuation breaks off too, the client receives the error.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from proxy.core.body import parse
from proxy.core.call import Call
from proxy.core.errors import ProxyError
from proxy.core.estimate import estimate_tokens
from proxy.core.failures import UpstreamFailure
from proxy.core.json_text import compact
from proxy.core.plan import Target
from proxy.core.record import Continued, Outcome
from proxy.core.spans import Span, edit
from proxy.core.usage import Usage
from proxy.upstream.attempts import Attempts, Opened
from proxy.upstream.joint import Joint, Said
from proxy.upstream.run import FailedTarget, Run

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


def may_go_on(run: Run, target: Target) -> bool:
    """Return whether another target could continue a broken answer of `target`."""
    call = run.call
    wanted = call.snapshot.mid_stream == "continue" and call.stream and call.endpoint == "chat"
    return wanted and _asks_for_text(call, target) and bool(_able(run))


class Continuation:
    """The `Rescue` of one call: `release` ends the broken attempt, `first` runs the attempt loop."""

    def __init__(
        self,
        attempts: Attempts,
        run: Run,
        opened: Opened,
        *,
        release: Callable[[], Awaitable[None]],
        first: Callable[[Run], Awaitable[Opened]],
    ) -> None:
        self._attempts = attempts
        self._run = run
        self._broken = opened
        self._release = release
        self._first = first
        self._said = Said()

    def saw(self, out: bytes) -> None:
        """Record events that were sent to the client."""
        self._said.read(out)

    def rest(self, failure: UpstreamFailure) -> AsyncGenerator[bytes, None] | None:
        """Return the events of the continuation, empty if all attempts fail; `None` if no target can continue."""
        targets = self._targets()
        if not self._said.plain or not targets or not self._run.attempts or self._is_refusal(failure):
            return None
        text = self._said.text
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
        return self._rest(run, text, tokens)

    def _is_refusal(self, failure: UpstreamFailure) -> bool:
        """Return whether the upstream refused the content, which then must not be sent to another target."""
        refuses = failure.status in _REFUSING or (failure.code or "").lower() in _FILTERS
        return refuses and not self._run.plan.content_fallback

    def _targets(self) -> list[Target]:
        """Return the targets that can continue: the broken one only if it is the only one, attempted ones last."""
        able, left, broken = _able(self._run), self._run.targets, self._broken.target.deployment.name
        others = [target for target in able if target.deployment.name != broken]
        return sorted(others, key=lambda target: target not in left) or able

    async def _rest(self, run: Run, text: str, tokens: int) -> AsyncGenerator[bytes, None]:
        record = run.record
        before = record.chosen, record.dropped, record.upstream_request_id
        first_token = record.timings.first_token
        await self._release()  # frees the connection and the reservation
        try:
            opened = await self._first(run)
        except ProxyError:
            record.chosen, record.dropped, record.upstream_request_id = before
            return
        record.end(Outcome.STARTED)
        used = self._charge(tokens)
        deployment = opened.target.deployment
        record.continued = Continued(deployment.provider.name, deployment.model, len(text))
        reply = self._attempts.reply(run, opened)
        record.timings.first_token = first_token
        joint = Joint(self._said.head, text, used, record.continued)
        async with aclosing(reply.chunks) as chunks:
            async for chunk in chunks:
                if out := joint.feed(chunk):
                    yield out
        if out := joint.end():
            yield out

    def _charge(self, tokens: int) -> Usage:
        """Estimate the usage of the broken attempt, because most upstreams report it only at the end."""
        attempt = self._broken.attempt
        counted = attempt.usage or Usage()
        attempt.usage = replace(
            counted,
            input=counted.input or self._run.plan.input_tokens,
            output=max(counted.output, tokens),
            source="estimated",
        )
        return attempt.usage


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
    return replace(call, raw=edit(call.raw, spans, edits), body=body, spans=_moved(spans, edits))


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
