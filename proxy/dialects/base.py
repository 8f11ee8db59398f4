"""What a dialect must do: a provider's wire format in both directions, without I/O.

The same decoder serves streamed and non-streamed answers: a stream's decoder gives bytes as they come, the other one
gives everything at its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from proxy.core.call import Call
from proxy.core.failures import UpstreamFailure
from proxy.core.model import Provider, ProviderKey
from proxy.core.plan import Target
from proxy.core.usage import Usage
from proxy.core.wire import UpstreamRequest


class Decoder(Protocol):
    """One answer being read: provider bytes in, OpenAI bytes out."""

    def feed(self, chunk: bytes) -> bytes:
        """What `chunk` gives the client. Raises `UpstreamFailure`."""
        ...

    def finish(self) -> bytes:
        """What the end of the upstream's body gives the client. Raises `UpstreamFailure` if the answer is not whole."""
        ...

    @property
    def committed(self) -> bool:
        """The commit point has been passed: from here on no other target can take over."""
        ...

    @property
    def complete(self) -> bool:
        """Every choice has its finish, or the upstream said that it is done."""
        ...

    @property
    def closed(self) -> bool:
        """Nothing more is to be expected: the upstream said so, or sent its own error event."""
        ...

    @property
    def fault(self) -> UpstreamFailure | None:
        """The upstream's own error event, which has been relayed as it is."""
        ...

    @property
    def passed_error(self) -> bool:
        """An error event has passed as a part of a complete answer, which is no fault of the answer."""
        ...

    @property
    def native_finish(self) -> str | None:
        """The provider's own word for why the first choice ended, where it is not OpenAI's."""
        ...

    @property
    def usage(self) -> Usage | None:
        """Tokens, as far as the upstream has told them."""
        ...


class Dialect(Protocol):
    """Stateless translator; the same instance serves every call.

    `translates` says that answers are written anew, so that the upstream's content type is not theirs.
    """

    translates: bool

    def request(self, call: Call, target: Target, key: ProviderKey | None) -> UpstreamRequest:
        """The attempt's request."""
        ...

    def failure(self, status: int, headers: Mapping[str, str], body: bytes, now: float) -> UpstreamFailure:
        """Classify an answer that is not a 2xx; `now` is seconds since the epoch."""
        ...

    def model_list(self, provider: Provider, key: ProviderKey | None) -> UpstreamRequest | None:
        """Return the request for the list of the provider's models; None if it has no such list."""
        ...

    def decoder(self, call: Call, target: Target, headers: Mapping[str, str]) -> Decoder:
        """A decoder for one answer; `headers` are the upstream's, with lower-case names."""
        ...
