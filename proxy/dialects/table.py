"""The dialects by name. The modules of a dialect are imported when it is first used: a translation takes 2 MiB."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.core.clock import Clock
from proxy.core.model import DialectName
from proxy.core.recall import Recall
from proxy.dialects.base import Dialect
from proxy.dialects.openai.dialect import OpenAIDialect


class Dialects(dict[DialectName, Dialect]):
    """One instance of each dialect. The mock's answers have OpenAI's format."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self["openai"] = self["mock"] = OpenAIDialect()
        self._clock = clock
        self._recall = Recall(clock)

    def prepare(self, names: Iterable[DialectName]) -> None:
        """Import the dialects of a configuration before calls need them."""
        for name in names:
            self.setdefault(name, self[name])

    def __missing__(self, name: DialectName) -> Dialect:
        dialect = self[name] = self._anthropic() if name == "anthropic" else self._gemini()
        return dialect

    def _anthropic(self) -> Dialect:
        from proxy.dialects.anthropic.dialect import AnthropicDialect

        return AnthropicDialect(self._recall, self._clock)

    def _gemini(self) -> Dialect:
        from proxy.dialects.gemini.dialect import GeminiDialect

        return GeminiDialect(self._recall, self._clock)
