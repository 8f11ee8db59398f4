"""Token counts as upstreams report them, limited to what is possible.

A count is an integer within the bounds of the answer. A count outside of them is clamped, and the usage is marked as
`clamped`, so that no upstream can increase costs or exhaust limits with an impossible number. Values that are not
counts are unknown. The counts of one answer only grow: a later, smaller count, such as 0, is ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial, reduce
from operator import add
from typing import Any, Literal

from msgspec import Struct, structs

from proxy.core.model import Deployment

UNKNOWN_WINDOW = 2_000_000  # tokens; the largest context window of common models
_TEXT_TOKENS = 8  # per byte of a request of texts; normalisation may lengthen a text before it is tokenised
_MIN_TEXT_TOKENS = 4096
_HUGE = 10**18
_CEILINGS = frozenset(("max_completion_tokens", "max_tokens"))
_BOUNDING = _CEILINGS | {"input", "prompt", "n", "best_of"}  # parameters that change the bounds


class Media(Struct, frozen=True, gc=False):
    """Tokens that are not text. `cached_...` are inside `input_...`, and inside the usage's `cached`."""

    input_audio: int = 0
    cached_audio: int = 0
    output_audio: int = 0
    input_image: int = 0
    cached_image: int = 0
    output_image: int = 0

    @property
    def audio(self) -> int:
        """All tokens of audio."""
        return self.input_audio + self.output_audio

    @property
    def image(self) -> int:
        """All tokens of images."""
        return self.input_image + self.output_image


class Usage(Struct, frozen=True, gc=False):
    """Tokens of one answer. `cached` and `cache_write` are inside `input`, `reasoning` inside `output`."""

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    cache_write_1h: int = 0  # the part of `cache_write` that lasts an hour
    media: Media | None = None  # None: all tokens are text
    service: str | None = None  # the service tier that the answer names, if it is not the standard one
    source: Literal["reported", "estimated", "clamped"] = "reported"  # clamped: more than possible was reported


class UsageBounds(Struct, frozen=True, gc=False):
    """The most tokens that one answer can have read and written, and the service tier that its request asks for.

    `exact` returns larger bounds, computed if needed.
    """

    input: int = UNKNOWN_WINDOW
    output: int = UNKNOWN_WINDOW
    service: str | None = None  # of an answer that does not name its own; `None`: the standard one
    exact: Callable[[], UsageBounds] | None = None


UNBOUNDED = UsageBounds()
OTHER_SERVICE = "other"
_STANDARD = frozenset(("", "auto", "default", "standard", "standard_only", "on_demand"))
_SERVICES = frozenset(("flex", "priority", "fast", "ultrafast", "scale", "batch"))
_NO_MEDIA = Media()


def service_of(named: Any) -> str | None:
    """Return the service tier that a request or an answer names; `None` for the standard one, or without a name.

    Names whose price no list has become `other`: their cost is an estimate.
    """
    if not isinstance(named, str) or (name := named.lower()) in _STANDARD:
        return None
    return name if name in _SERVICES else OTHER_SERVICE


def asking(bounds: UsageBounds, service: str | None) -> UsageBounds:
    """Return the bounds of an answer whose request asks for a service tier."""
    return bounds if service is None else structs.replace(bounds, service=service)


def count(value: Any) -> int | None:
    """Return a reported count, rounded down; `None` for other values: null, a boolean, a string."""
    if type(value) is int:
        return value
    if isinstance(value, float) and value == value:
        return int(min(max(value, -1.0), float(_HUGE)))
    return None


def grow(counts: dict[str, int], reported: Mapping[str, Any], names: Iterable[str]) -> None:
    """Update `counts` with the reported counts of `names` that are larger than before."""
    for name in names:
        number = count(reported.get(name))
        if number is not None and number > counts.get(name, -_HUGE):
            counts[name] = number


def bounded(usage: Usage, bounds: UsageBounds = UNBOUNDED) -> Usage:
    """Return the usage if it is possible, otherwise the nearest possible one, marked as `clamped`."""
    counted, cached, cache_write = usage.input, usage.cached, usage.cache_write
    possible = (
        0 <= counted <= bounds.input
        and 0 <= usage.output <= bounds.output
        and 0 <= cached <= bounds.input
        and 0 <= cache_write <= bounds.input
        and 0 <= usage.reasoning <= bounds.output
    )
    if not possible and bounds.exact is not None:
        return bounded(usage, bounds.exact())
    plain = not usage.cache_write_1h and usage.media is None
    if possible and plain and cached + cache_write <= counted and usage.reasoning <= usage.output:
        return usage
    total, output = _within(counted, bounds.input), _within(usage.output, bounds.output)
    cached = _within(cached, total)  # a part that is larger than its whole, as some providers count
    cache_write, reasoning = _within(cache_write, total - cached), _within(usage.reasoning, output)
    return Usage(
        total,
        output,
        cached,
        cache_write,
        reasoning,
        _within(usage.cache_write_1h, cache_write),
        None if usage.media is None else _bounded_media(usage.media, total, cached, output),
        usage.service,
        source=usage.source if possible else "clamped",
    )


def known(usage: Usage, bounds: UsageBounds = UNBOUNDED) -> Usage | None:
    """Return the usage within `bounds`; `None` without any token, because no answer has none."""
    possible = bounded(usage, bounds)
    return possible if possible.input or possible.output else None


def grown(before: Usage | None, after: Usage | None) -> Usage | None:
    """Return the larger count of each kind."""
    if before is None or after is None or before == after:
        return after or before
    return Usage(
        max(before.input, after.input),
        max(before.output, after.output),
        max(before.cached, after.cached),
        max(before.cache_write, after.cache_write),
        max(before.reasoning, after.reasoning),
        max(before.cache_write_1h, after.cache_write_1h),
        _merged(max, before.media, after.media),
        after.service or before.service,
        source="clamped" if "clamped" in (before.source, after.source) else after.source,
    )


def total(usages: Sequence[Usage]) -> Usage | None:
    """Return the sum of the counts; `None` without any usage. An estimated part makes the sum estimated."""
    if len(usages) < 2:
        return usages[0] if usages else None
    sources = {usage.source for usage in usages}
    return Usage(
        sum(usage.input for usage in usages),
        sum(usage.output for usage in usages),
        sum(usage.cached for usage in usages),
        sum(usage.cache_write for usage in usages),
        sum(usage.reasoning for usage in usages),
        sum(usage.cache_write_1h for usage in usages),
        reduce(partial(_merged, add), [usage.media for usage in usages]),
        source="estimated" if "estimated" in sources else "clamped" if "clamped" in sources else "reported",
    )


def bounds_of(deployment: Deployment, body: Mapping[str, Any], size: int) -> UsageBounds:
    """Return the bounds of an answer to a request of `size` bytes: context window, longest answer, number of inputs."""
    window = deployment.context_window or UNKNOWN_WINDOW
    longest = deployment.max_output or window
    present = _BOUNDING.intersection(body)
    for name in present & _CEILINGS:
        asked = body[name]
        if type(asked) is int and longest < asked <= UNKNOWN_WINDOW:
            longest = asked  # the model's own limit may be larger than is configured
    if present <= _CEILINGS:
        return UsageBounds(max(window, size), longest)
    several = max(_length(body.get("input")), _length(body.get("prompt")))
    choices = max(_natural(body.get("n")), _natural(body.get("best_of")))
    most = max(window * several, size)
    if "messages" not in body and _is_text(body.get("input") or body.get("prompt")):
        most = min(most, _TEXT_TOKENS * size + _MIN_TEXT_TOKENS)
    return UsageBounds(most, longest * choices * several)


def media_of(counts: Media) -> Media | None:
    """Return the counts; `None` if all are 0."""
    return None if counts == _NO_MEDIA else counts


def _bounded_media(media: Media, total: int, cached: int, output: int) -> Media | None:
    """Return the media within the tokens of which they are a part."""
    input_audio = _within(media.input_audio, total)
    input_image = _within(media.input_image, total - input_audio)
    output_audio = _within(media.output_audio, output)
    cached_audio = _within(media.cached_audio, min(cached, input_audio))
    return media_of(
        Media(
            input_audio,
            cached_audio,
            output_audio,
            input_image,
            _within(media.cached_image, min(cached - cached_audio, input_image)),
            _within(media.output_image, output - output_audio),
        )
    )


def _merged(merge: Callable[[int, int], int], one: Media | None, other: Media | None) -> Media | None:
    if one is None or other is None:
        return one or other
    return Media(*(merge(getattr(one, name), getattr(other, name)) for name in Media.__struct_fields__))


def _within(number: int, most: int) -> int:
    return min(max(0, number), most)


def _length(value: Any) -> int:
    return max(1, len(value)) if isinstance(value, list) else 1


def _is_text(value: Any) -> bool:
    """Return whether the value is texts or token numbers; an object may be something larger, such as an image."""
    return isinstance(value, str) or (isinstance(value, list) and not any(isinstance(item, dict) for item in value))


def _natural(value: Any) -> int:
    return min(value, 128) if type(value) is int and value > 1 else 1
