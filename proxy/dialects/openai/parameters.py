"""Edits of a body's top-level members for a model that does not accept all parameters of the call.

The deployment defines what its model accepts and how thinking is requested. An unsupported parameter is removed, and
reported as dropped if the client sent it. The two names of the limit on the answer's length can replace each other, so
that an unsupported one is renamed and keeps its bytes. `reasoning_effort` becomes the members that the deployment has
for this effort, and is reported as dropped if they contain another one; `router.disable_thinking` becomes those that
switch thinking off. An effort that the deployment does not define goes to the upstream unchanged.

The clients of other formats often set an effort whatever the model. From these calls an effort that the model does not
understand is removed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.core.call import Call
from proxy.core.json_text import compact_nulled
from proxy.core.model import Deployment
from proxy.core.plan import Target
from proxy.core.spans import Span
from proxy.dialects.refused import asks, refused

EFFORT = "reasoning_effort"
_START = Span(0, 0, 0)
_LIMITS = (("max_tokens", "max_completion_tokens"), ("max_completion_tokens", "max_tokens"))


@dataclass(slots=True)
class Edits:
    """Members to write and members to remove, and the client's parameters that are dropped by it."""

    write: dict[str, bytes]
    remove: set[str] = field(default_factory=set)
    dropped: list[str] = field(default_factory=list)

    def drop(self, name: str, spans: Mapping[str, Span]) -> None:
        """Remove a parameter, whether the client or the scenario has set it."""
        self.write.pop(name, None)
        if name in spans:
            self.remove.add(name)
            self.dropped.append(name)


def may_need_edits(call: Call, target: Target, spans: Mapping[str, Span], pairs: Collection[tuple[str, str]]) -> bool:
    """Return whether the members with these `spans` may have to be edited; if not, `edits_of` returns no edits.

    `pairs` are the parameters that the model does not accept together.
    """
    return (
        bool(target.overrides)
        or call.options.disable_thinking
        or EFFORT in spans
        or not target.deployment.unsupported.isdisjoint(spans)
        or call.native is not None
        or (bool(pairs) and any(first in spans and second in spans for first, second in pairs))
    )


def edits_of(call: Call, target: Target, spans: Mapping[str, Span]) -> Edits:
    """Return the edits of the client's body, whose members have these `spans`."""
    edits = Edits({name: to_json(value) for name, value in target.overrides.items()})
    deployment = target.deployment
    if call.endpoint == "chat":
        _think(edits, call, target, spans)
        if call.native is not None:
            _fit(edits, call, target, spans)
    if not deployment.unsupported:
        return edits
    for name, other in _LIMITS:
        if name in deployment.unsupported and other not in deployment.unsupported:
            _rename(edits, name, other, call, spans)
    present = _present(call, target)
    for name in sorted(refused(deployment.unsupported, present), key=lambda name: spans.get(name, _START)):
        if name not in edits.remove and asks(name, present[name]):  # a value that asks for nothing keeps its bytes
            edits.drop(name, spans)
    return edits


def to_json(value: object) -> bytes:
    """Return a value as it is written into a body."""
    return b"%d" % value if type(value) is int else compact_nulled(value)


def _present(call: Call, target: Target) -> dict[str, Any]:
    """Return the parameters that are not null and that the model's rules may name; texts are not decoded."""
    body, overrides = call.body, target.overrides
    names = {part for rule in target.deployment.unsupported for part in rule.split("+")}
    values = {name: body[name] for name in body if name in names} | dict(overrides)
    return {name: value for name, value in values.items() if value is not None}


def _rename(edits: Edits, name: str, other: str, call: Call, spans: Mapping[str, Span]) -> None:
    """Rename a member, or remove it if the call limits `other` too. A scenario has priority over the client."""
    if name in edits.write:
        if (value := edits.write.pop(name)) != b"null":
            edits.write.setdefault(other, value)
        edits.remove.add(name)
    elif name in spans and call.body.get(name) is not None:
        if other in edits.write or call.body.get(other) is not None:
            edits.drop(name, spans)
        else:
            edits.write[other] = call.raw[spans[name].value : spans[name].end]
            edits.remove.add(name)


def _think(edits: Edits, call: Call, target: Target, spans: Mapping[str, Span]) -> None:
    deployment = target.deployment
    effort = target.overrides.get(EFFORT, call.body.get(EFFORT))
    off = call.options.disable_thinking
    members = deployment.thinking_off if off else _members(effort, deployment)
    if members is None and off and deployment.thinking:
        edits.dropped.append("router.disable_thinking")
    if members is None or members == {EFFORT: effort}:
        return
    edits.write.pop(EFFORT, None)
    if EFFORT in spans:
        edits.remove.add(EFFORT)
        edits.dropped += [EFFORT] if off or members.get(EFFORT, effort) != effort else []
    for name, value in members.items():
        if off or name == EFFORT or name not in spans:
            edits.write[name] = to_json(value)
            edits.remove.discard(name)


def _fit(edits: Edits, call: Call, target: Target, spans: Mapping[str, Span]) -> None:
    """Remove the effort of a translated request if the model does not understand it."""
    deployment = target.deployment
    effort = call.body.get(EFFORT)
    if effort is None or EFFORT in edits.write or EFFORT in edits.remove or _members(effort, deployment) is not None:
        return
    capabilities = deployment.capabilities
    if effort == "none" or (capabilities is not None and "reasoning" not in capabilities):
        edits.drop(EFFORT, spans)


def _members(effort: Any, deployment: Deployment) -> Mapping[str, Any] | None:
    if not isinstance(effort, str):
        return None
    found = deployment.thinking.get(effort)
    return deployment.thinking_off if found is None and effort == "none" else found
