"""Translation of OpenAI embeddings to Gemini's `embedContent` (one text) and `batchEmbedContents` (several).

Gemini accepts texts, but not token ids, with at most 100 texts per batch. Most of its models do not report the number
of tokens. Source: ai.google.dev/api/embeddings.
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
from proxy.dialects.error_details import is_error
from proxy.dialects.gemini.errors import failure_in_200
from proxy.dialects.held import HeldAnswer

LARGEST_BATCH = 100  # texts in one `batchEmbedContents`
_READ = {"model", "input", "dimensions", "encoding_format"}


def embeddings_request(body: Mapping[str, Any], model: str) -> tuple[str, list[dict[str, Any]], tuple[str, ...]]:
    """Return the method (such as `embedContent`), the native bodies, and the names of dropped parameters.

    There is one body for each `LARGEST_BATCH` texts; `embeddings_answer` reads their concatenated answers.
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
    """Return OpenAI's answer to `body`, and the tokens if Gemini reports them.

    `raw` is the native answer, or the concatenated answers of all batches. Raises `UpstreamFailure` if it does not
    contain one vector for each text.
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
        raise UpstreamFailure(FailureKind.MALFORMED, "the upstream's answer contains no embeddings") from exc
    if len(vectors) != len(texts):
        message = f"the upstream's answer contains {len(vectors)} embeddings, not one for each text"
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
    """Decodes Gemini's vectors into OpenAI's format."""

    def __init__(self, body: Mapping[str, Any], model: str, bounds: UsageBounds = UNBOUNDED) -> None:
        super().__init__(bounds)
        self._body = body
        self._model = model

    def finish(self) -> bytes:
        """Return the whole answer. Raises `UpstreamFailure` if it contains no vectors."""
        answer, self.usage = embeddings_answer(bytes(self._held), self._body, self._model, self._bounds)
        self.committed = self.complete = self.closed = True
        return answer


def _texts(value: Any) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        message = "`input` must be a string or a list of strings; this model does not support token ids."
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
    """Return the items of a batch, or the item of a single answer."""
    items = value["embeddings"] if "embeddings" in value else [value["embedding"]]
    if not isinstance(items, list):
        raise TypeError("not a list")
    return items


def _vector(item: Any) -> list[float]:
    vector = [float(number) for number in item["values"]]
    struct.pack(f"<{len(vector)}f", *vector)  # raises for values that are not 32-bit numbers
    if not vector or any(number != number for number in vector):
        raise ValueError("not a vector")
    return vector


def _packed(vector: list[float]) -> str:
    """Return OpenAI's base64 of 32-bit little-endian floats."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _values(raw: bytes, number: int) -> Iterator[Any]:
    """Yield the values of `number` concatenated JSON texts. Raises `ValueError`."""
    text = raw.decode()
    at = 0
    for _ in range(number):
        value, at = value_at(text, at)
        yield value
    if text[at:].strip():
        raise ValueError("extra data after the last answer")


def _usage(values: list[Any], bounds: UsageBounds) -> Usage | None:
    """Return the tokens of all batches; None if one of them reports none."""
    found = []
    for value in values:
        metadata = value.get("usageMetadata")
        found.append(count(metadata.get("promptTokenCount")) if isinstance(metadata, dict) else None)
    if any(tokens is None for tokens in found):
        return None
    return bounded(Usage(input=sum(tokens or 0 for tokens in found)), bounds)
