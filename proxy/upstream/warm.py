"""Remembers which model has answered a conversation, while the provider's prompt cache may still hold it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from proxy.core.clock import Clock
from proxy.core.plan import Warm
from proxy.core.record import AttemptOutcome, AttemptRecord, Outcome, Record

KEPT_SECONDS = 300.0  # providers keep an unused prompt for 5 to 10 minutes
MOST = 10_000  # conversations
LEAST_CACHED = 1_024  # tokens; providers cache no shorter prompt


class WarmPrompts:
    """The conversations that `auto` has routed; the oldest are forgotten."""

    def __init__(self, clock: Clock) -> None:
        self.on_note: Callable[[bytes, Warm], None] | None = None  # takes what other replicas should know
        self._clock = clock
        self._warm: OrderedDict[bytes, tuple[float, Warm]] = OrderedDict()

    def find(self, conversation: bytes) -> Warm | None:
        """Return the model that has answered the conversation within the last minutes."""
        kept = self._warm.get(conversation)
        return kept[1] if kept is not None and kept[0] > self._clock.monotonic() else None

    def note(self, record: Record) -> None:
        """Remember the model that has answered a call of `auto`."""
        conversation = record.plan.conversation if record.plan is not None else None
        if conversation is None or record.outcome is not Outcome.OK or record.chosen is None:
            return
        answer = next((each for each in reversed(record.attempts) if each.outcome is AttemptOutcome.OK), None)
        warm = Warm(record.chosen.name, _cached_tokens(answer) if answer is not None else 0)
        self._keep(conversation, warm, KEPT_SECONDS)
        if self.on_note is not None:
            self.on_note(conversation, warm)

    def follow(self, conversation: bytes, warm: Warm, seconds: float) -> None:
        """Remember what another replica has answered, for so many seconds, unless something newer is known."""
        kept = self._warm.get(conversation)
        if seconds > 0 and (kept is None or kept[0] < self._clock.monotonic() + seconds):
            self._keep(conversation, warm, seconds)

    def _keep(self, conversation: bytes, warm: Warm, seconds: float) -> None:
        self._warm[conversation] = (self._clock.monotonic() + seconds, warm)
        self._warm.move_to_end(conversation)
        if len(self._warm) > MOST:
            self._warm.popitem(last=False)


def _cached_tokens(attempt: AttemptRecord) -> int:
    """Return how many tokens of the next prompt the provider has probably cached.

    Anthropic caches only what requests mark, which its usage shows; others cache every long prompt.
    """
    usage = attempt.usage
    if usage is None or (attempt.deployment.provider.dialect == "anthropic" and not usage.cached + usage.cache_write):
        return 0
    tokens = usage.input + usage.output
    return tokens if tokens >= LEAST_CACHED else 0
