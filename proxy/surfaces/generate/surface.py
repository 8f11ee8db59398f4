"""The surface of Google's API: `:generateContent`, `:countTokens`, `:embedContent` and related endpoints.

A request becomes a call in OpenAI's format, and keeps its own bytes for targets that speak Google's format.
`docs/gemini-clients.md` has the table of what is translated.
"""

from __future__ import annotations

from proxy.core.call import Call
from proxy.core.errors import ProxyError
from proxy.core.record import Record
from proxy.surfaces.base import Encoder, ReadCall
from proxy.surfaces.generate.embeddings import BATCH, EmbeddingsAnswer, read_embeddings
from proxy.surfaces.generate.encoder import GenerateAnswer, GenerateStream
from proxy.surfaces.generate.errors import error_body, stream_error
from proxy.surfaces.generate.read import read_generate, wants_thoughts

BLANK = b"\n"  # Google's SDK for Python takes the comments of an event stream for data


class GenerateSurface:
    """The endpoints of a model's answers."""

    keep_alive = BLANK
    read: ReadCall = staticmethod(read_generate)

    def encoder(self, call: Call, record: Record, content_type: str, *, native: bool) -> Encoder | None:
        """Return what writes the answer of a call; `None` if it is in Google's format already."""
        if native or call.native is None:
            return None
        encode = GenerateStream if call.stream else GenerateAnswer
        return encode(call, record, thoughts=wants_thoughts(call))

    def error(self, error: ProxyError) -> bytes:
        """Return the body of a response."""
        return error_body(error)

    def event(self, error: ProxyError) -> bytes:
        """Return the last bytes of a stream."""
        return stream_error(error)


class EmbeddingsSurface(GenerateSurface):
    """The endpoints of embeddings."""

    read: ReadCall = staticmethod(read_embeddings)

    def encoder(self, call: Call, record: Record, content_type: str, *, native: bool) -> Encoder | None:
        """Return what writes the answer of a call; `None` if it is in Google's format already."""
        if native or call.native is None:
            return None
        return EmbeddingsAnswer(batch=call.native.operation == BATCH)


GENERATE, EMBEDDINGS = GenerateSurface(), EmbeddingsSurface()
