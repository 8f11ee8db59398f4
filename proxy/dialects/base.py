"""The interface of a dialect: a provider's wire format in both directions, without I/O.

The same kind of decoder reads streamed and other answers: the decoder of a stream returns bytes as they come, the other
one returns everything at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from proxy.core.call import Call
from proxy.core.dialects import DialectName, NativeFormat
from proxy.core.failures import UpstreamFailure
from proxy.core.model import Provider, ProviderKey
from proxy.core.plan import Target
from proxy.core.usage import Usage
from proxy.core.wire import UpstreamRequest

DialectKey = DialectName | NativeFormat  # a provider's dialect, or the format of clients that it speaks itself


class Decoder(Protocol):
    """Reads one answer: provider bytes in, OpenAI bytes out.

    The relay reads the properties after each chunk, so decoders of streams have plain attributes for them.
    """

    def feed(self, chunk: bytes) -> bytes:
        """Return what `chunk` gives the client. Raises `UpstreamFailure`."""
        ...

    def finish(self) -> bytes:
        """Return what the end of the body gives the client. Raises `UpstreamFailure` if the answer is not whole."""
        ...

    @property
    def committed(self) -> bool:
        """Whether the commit point has been passed: from here on no other target can take over."""
        ...

    @property
    def complete(self) -> bool:
        """Whether every choice has its finish, or the upstream ended the answer."""
        ...

    @property
    def closed(self) -> bool:
        """Whether nothing more is expected: the upstream ended the answer, or sent its own error event."""
        ...

    @property
    def fault(self) -> UpstreamFailure | None:
        """The upstream's own error after the commit point; `feed` does not return its event."""
        ...

    @property
    def passed_error(self) -> bool:
        """Whether an error event was relayed after a complete answer, which is not a failure."""
        ...

    @property
    def native_finish(self) -> str | None:
        """The provider's own finish reason of the first choice, if it is not OpenAI's."""
        ...

    @property
    def finish_reason(self) -> str | None:
        """The finish reason of the choice that finished last, in the provider's words."""
        ...

    @property
    def usage(self) -> Usage | None:
        """The tokens that the upstream has reported so far."""
        ...


class NativeDecoder(Decoder, Protocol):
    """A decoder of answers that are not in OpenAI's format, because the client uses the provider's own."""

    @property
    def text_bytes(self) -> int:
        """The bytes of the texts that were relayed so far."""
        ...


class Dialect(Protocol):
    """Stateless translator; the same instance serves every call.

    `translates`: answers are written anew, so they do not have the upstream's content type. `passed`: prefixes of the
    upstream's headers that pass to the client.
    """

    translates: bool
    passed: tuple[str, ...]

    def request(self, call: Call, target: Target, key: ProviderKey | None) -> UpstreamRequest:
        """Return the attempt's request."""
        ...

    def failure(self, status: int, headers: Mapping[str, str], body: bytes, now: float) -> UpstreamFailure:
        """Classify an answer that is not a 2xx; `now` is seconds since the epoch."""
        ...

    def model_list(self, provider: Provider, key: ProviderKey | None) -> UpstreamRequest | None:
        """Return the request for the list of the provider's models; `None` if it has no such list."""
        ...

    def decoder(self, call: Call, target: Target, headers: Mapping[str, str]) -> Decoder:
        """Return a decoder for one answer; `headers` are the upstream's, with lower-case names."""
        ...
