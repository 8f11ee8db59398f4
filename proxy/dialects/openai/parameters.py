"""What a model of the OpenAI dialect takes of a call's parameters, as edits of the body's top-level members.

Which model refuses what, and how it is asked to think, is not known here: the deployment says it. A parameter that it
refuses is cut, and named if it was the client's. The two names of the ceiling on an answer stand for each other, so a
refused one goes on under the other name with the bytes that it had. `reasoning_effort` becomes the members that the
deployment has for that effort, and is named where they hold another one; `router.disable_thinking` becomes those that
switch thinking off. An effort that the deployment says nothing of is the upstream's to judge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.core.call import Call
from proxy.core.json_text import compact_nulled
from proxy.core.model import Deployment
from proxy.core.plan import Target
from proxy.core.spans import Span
from proxy.dialects.refused import asks, refused

_EFFORT = "reasoning_effort"
_CEILINGS = (("max_tokens", "max_completion_tokens"), ("max_completion_tokens", "max_tokens"))


@dataclass(slots=True)
class Edits:
    """Members to write and members to cut, and the client's parameters that are lost by it."""

    write: dict[str, bytes]
    cut: set[str] = field(default_factory=set)
    dropped: list[str] = field(default_factory=list)

    def drop(self, name: str, given: Mapping[str, Span]) -> None:
        """Leave a parameter out, wherever it came from."""
        self.write.pop(name, None)
        if name in given:
            self.cut.add(name)
            self.dropped.append(name)


def edits_of(call: Call, target: Target, given: Mapping[str, Span]) -> Edits:
    """What has to change in the client's body; `given` are the places of its members."""
    edits = Edits({name: to_json(value) for name, value in target.overrides.items()})
    deployment = target.deployment
    if call.endpoint == "chat":
        _think(edits, call, target, given)
    for name, other in _CEILINGS:
        if name in deployment.unsupported and other not in deployment.unsupported:
            _rename(edits, name, other, call.raw, given)
    whole = {**call.body, **target.overrides}
    present = {name: value for name, value in whole.items() if value is not None}
    for name in sorted(refused(deployment.unsupported, present), key=lambda name: given.get(name, Span(0, 0, 0))):
        if name not in edits.cut and asks(name, present[name]):  # what asks for nothing keeps its bytes
            edits.drop(name, given)
    return edits


def to_json(value: object) -> bytes:
    """A value as it is written into a body."""
    return compact_nulled(value)


def _rename(edits: Edits, name: str, other: str, raw: bytes, given: Mapping[str, Span]) -> None:
    """Send `name` as `other`, unless that is there already: then it counts. What a scenario sets beats the client."""
    if name in edits.write:
        edits.write.setdefault(other, edits.write.pop(name))
        edits.cut.add(name)
    elif name in given and (other in given or other in edits.write):
        edits.drop(name, given)
    elif name in given:
        edits.write[other] = raw[given[name].value : given[name].end]
        edits.cut.add(name)


def _think(edits: Edits, call: Call, target: Target, given: Mapping[str, Span]) -> None:
    deployment = target.deployment
    effort = target.overrides.get(_EFFORT, call.body.get(_EFFORT))
    off = call.options.disable_thinking
    members = deployment.thinking_off if off else _members(effort, deployment)
    if members is None and off and deployment.thinking:
        edits.dropped.append("router.disable_thinking")
    if members is None or members == {_EFFORT: effort}:
        return
    edits.write.pop(_EFFORT, None)
    if _EFFORT in given:
        edits.cut.add(_EFFORT)
        edits.dropped += [_EFFORT] if off or members.get(_EFFORT, effort) != effort else []
    for name, value in members.items():
        if off or name == _EFFORT or name not in given:
            edits.write[name] = to_json(value)
            edits.cut.discard(name)


def _members(effort: Any, deployment: Deployment) -> Mapping[str, Any] | None:
    if not isinstance(effort, str):
        return None
    found = deployment.thinking.get(effort)
    return deployment.thinking_off if found is None and effort == "none" else found
