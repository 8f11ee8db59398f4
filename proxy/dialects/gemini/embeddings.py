"""OpenAI embeddings as Gemini's `embedContent` (one text) and `batchEmbedContents` (several): pure functions.

Gemini takes texts only, no token numbers, at most 100 in a batch, and most of its models do not say how many tokens
they read. Source: ai.google.dev/api/embeddings.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from proxy.core.errors import InvalidRequest
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.json_text import compact, loads, value_at
from proxy.core.usage import UNBOUNDED, Usage, UsageBounds, bounded, count
from proxy.dialects.gemini.errors import failure_in_200
from proxy.dialects.held import HeldAnswer
from proxy.dialects.upstream_errors import is_error

LARGEST_BATCH = 100  # texts in one `batchEmbedContents`
_READ = {"model", "input", "dimensions", "encoding_format"}


def embeddings_request(body: Mapping[str, Any], model: str) -> tuple[str, list[dict[str, Any]], tuple[str, ...]]:
    """The method (`embedContent`, ...) to put behind the model, the native bodies, and the names of what was dropped.

    There is one body for each `LARGEST_BATCH` texts; `embeddings_answer` reads their answers one after another.
    Raises `InvalidRequest` if `input` is not a text or a list of texts, or another member is wrong.
    """
    texts = _texts(body.get("input"))
    dimensions, form = body.get("dimensions"), body.get("encoding_format")
    if dimensions is not None and (not isinstance(dimensions, int) or isinstance(dimensions, bool) or dimensions < 1):
        raise InvalidRequest("`dimensions` must be a positive integer.", param="dimensions")
    if form not in (None, "float", "base64"):
        raise InvalidRequest("`encoding_format` must be `float` or `base64`.", param="encoding_format")
    requests = [_request(text, model, dimensions) for text in texts]
    dropped = tuple(name for name in body if name not in _READ and body[name] is not None)
    if isinstance(body.get("input"), str):
        return "embedContent", requests, dropped
    starts = range(0, len(requests), LARGEST_BATCH)
    return "batchEmbedContents", [{"requests": requests[at : at + LARGEST_BATCH]} for at in starts], dropped


def embeddings_answer(
    raw: bytes, body: Mapping[str, Any], model: str, bounds: UsageBounds = UNBOUNDED
) -> tuple[bytes, Usage | None]:
    """OpenAI's answer to `body`, and the tokens where Gemini reports them.

    `raw` is the native answer, or those to all batches one after another. Raises `UpstreamFailure` if it does not hold
    one vector for each text.
    """
    texts = _texts(body.get("input"))
    try:
        values = [loads(raw)] if len(texts) <= LARGEST_BATCH else list(_values(raw, -(-len(texts) // LARGEST_BATCH)))
        for value in values:
            if isinstance(value, dict) and is_error(value, "embedding" if "embedding" in value else "embeddings"):
                raise failure_in_200(value)
        vectors = [_vector(item) for value in values for item in _embeddings(value)]
        packed = [_packed(vector) if body.get("encoding_format") == "base64" else vector for vector in vectors]
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError, struct.error) as exc:
        raise UpstreamFailure(FailureKind.MALFORMED, "the upstream's answer holds no embeddings") from exc
    if len(vectors) != len(texts):
        message = f"the upstream's answer holds {len(vectors)} embeddings, not one for each text"
        raise UpstreamFailure(FailureKind.MALFORMED, message)
    usage = _usage(values, bounds)
    tokens = usage.input if usage else 0
    answer = {
        "object": "list",
        "data": [{"object": "embedding", "index": place, "embedding": item} for place, item in enumerate(packed)],
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return compact(answer), usage


class EmbeddingsDecoder(HeldAnswer):
    """Gemini's vectors, collected and written as OpenAI writes them."""

    def __init__(self, body: Mapping[str, Any], model: str, bounds: UsageBounds = UNBOUNDED) -> None:
        super().__init__(bounds)
        self._body = body
        self._model = model

    def finish(self) -> bytes:
        """The whole answer. Raises `UpstreamFailure` if it holds no vectors."""
        answer, self.usage = embeddings_answer(bytes(self._held), self._body, self._model, self._bounds)
        self.committed = self.complete = self.closed = True
        return answer


def _texts(given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        message = "`input` must be a text or a list of texts; this model takes no token numbers."
        raise InvalidRequest(message, param="input")
    return texts


def _request(text: str, model: str, dimensions: int | None) -> dict[str, Any]:
    made: dict[str, Any] = {
        "model": model if "/" in model else f"models/{model}",
        "content": {"parts": [{"text": text}]},
    }
    if dimensions is not None:
        made["outputDimensionality"] = dimensions
    return made


def _embeddings(value: Any) -> list[Any]:
    """The items of a batch, or the one of a single answer."""
    found = value["embeddings"] if "embeddings" in value else [value["embedding"]]
    if not isinstance(found, list):
        raise TypeError("not a list")
    return found


def _vector(item: Any) -> list[float]:
    vector = [float(number) for number in item["values"]]
    struct.pack(f"<{len(vector)}f", *vector)  # what is no 32 bit number is no part of an embedding
    if not vector or any(number != number for number in vector):
        raise ValueError("not a vector")
    return vector


def _packed(vector: list[float]) -> str:
    """32 bit floats, little-endian, as OpenAI's base64 has them."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _values(raw: bytes, number: int) -> Iterator[Any]:
    """The values of so many JSON texts that follow each other. Raises `ValueError`."""
    text = raw.decode()
    at = 0
    for _ in range(number):
        value, at = value_at(text, at)
        yield value
    if text[at:].strip():
        raise ValueError("something follows the last answer")


def _usage(values: list[Any], bounds: UsageBounds) -> Usage | None:
    """The tokens of all batches; None if one of them does not report any."""
    found = []
    for value in values:
        metadata = value.get("usageMetadata")
        found.append(count(metadata.get("promptTokenCount")) if isinstance(metadata, dict) else None)
    if any(tokens is None for tokens in found):
        return None
    return bounded(Usage(input=sum(tokens or 0 for tokens in found)), bounds)
