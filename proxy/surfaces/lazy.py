"""A surface whose module is imported when its first call arrives, so that a process without such calls stays small."""

from __future__ import annotations

from importlib import import_module

from proxy.core.call import Call
from proxy.core.errors import ProxyError
from proxy.core.record import Record
from proxy.surfaces.base import Encoder, ReadCall, Surface


class LazySurface:
    """The surface with the name `name` in `module`."""

    def __init__(self, module: str, name: str) -> None:
        self._module = module
        self._name = name
        self._loaded: Surface | None = None

    @property
    def keep_alive(self) -> bytes:
        """What is written into a silent stream."""
        return self._surface.keep_alive

    @property
    def read(self) -> ReadCall:
        """The function that reads a body."""
        return self._surface.read

    def encoder(self, call: Call, record: Record, content_type: str, *, native: bool) -> Encoder | None:
        """Return what writes the answer of a call."""
        return self._surface.encoder(call, record, content_type, native=native)

    def error(self, error: ProxyError) -> bytes:
        """Return an error as the body of a response."""
        return self._surface.error(error)

    def event(self, error: ProxyError) -> bytes:
        """Return an error as the last event of a stream."""
        return self._surface.event(error)

    @property
    def _surface(self) -> Surface:
        if self._loaded is None:
            self._loaded = getattr(import_module(self._module), self._name)
        return self._loaded
