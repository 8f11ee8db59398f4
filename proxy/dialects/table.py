"""The dialects by name. The modules of a dialect are imported when it is first used: a translation takes 2 MiB."""

from __future__ import annotations

from importlib import import_module

from proxy.core.call import Call
from proxy.core.clock import Clock
from proxy.core.dialects import DIALECTS, NATIVE, DialectName
from proxy.core.recall import Recall
from proxy.core.snapshot import Snapshot
from proxy.dialects.base import Dialect, DialectKey
from proxy.dialects.memory import family_in_memory


class Dialects(dict[DialectKey, Dialect]):
    """One instance of each translator. Names with the same module share it."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._recall = Recall(clock)

    def prepare(self, snapshot: Snapshot) -> None:
        """Import the dialects of a configuration before calls need them."""
        for provider in snapshot.providers.values():
            self.setdefault(provider.dialect, self[provider.dialect])

    def load(self, snapshot: Snapshot) -> None:
        """Import the modules of the dialects of a configuration, in any thread."""
        for provider in snapshot.providers.values():
            import_module(_module(provider.dialect))

    def family_in_memory(self, call: Call) -> DialectName | None:
        """Return the family of models that signed the open tool loop of a chat, if its signatures are in memory."""
        return family_in_memory(self._recall, call)

    def __missing__(self, name: DialectKey) -> Dialect:
        module = _module(name)
        shared = [dialect for other, dialect in self.items() if _module(other) == module]
        self[name] = shared[0] if shared else import_module(module).build(self._recall, self._clock)
        return self[name]


def _module(name: DialectKey) -> str:
    """Return the module of a dialect, or of a native format."""
    return NATIVE[name] if name in NATIVE else DIALECTS[name].module  # type: ignore[index]
