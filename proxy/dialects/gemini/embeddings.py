"""OpenAI embeddings as Gemini's `embedContent` (one text) and `batchEmbedContents` (several): pure functions.

Gemini takes texts only, no token numbers, and most of its models do not say how many tokens they read.
Source: ai.google.dev/api/embeddings.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from typing import Any

from proxy.core.errors import InvalidRequest
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.json_text import compact, loads
from proxy.core.types import Usage
from proxy.core.usage import UNBOUNDED, UsageBounds, bounded, count
from proxy.dialects.gemini.errors import failure_in_200
from proxy.dialects.held import HeldAnswer
from proxy.dialects.upstream_errors import is_error

_READ = {"model", "input", "dimensions", "encoding_format"}


def embeddings_request(body: Mapping[str, Any], model: str) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    """The method (`embedContent`, ...) to put behind the model, the native body, and the names of what was dropped.

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
        return "embedContent", requests[0], dropped
    return "batchEmbedContents", {"requests": requests}, dropped


def embeddings_answer(
    raw: bytes, body: Mapping[str, Any], model: str, bounds: UsageBounds = UNBOUNDED
) -> tuple[bytes, Usage | None]:
    """OpenAI's answer to `body`, and the tokens where Gemini tells them.

    Raises `UpstreamFailure` if `raw` is not one vector for each text.
    """
    try:
        value = loads(raw)
        if isinstance(value, dict) and is_error(value, "embedding" if "embedding" in value else "embeddings"):
            raise failure_in_200(value)
        vectors = [_vector(item) for item in _embeddings(value)]
        packed = [_packed(vector) if body.get("encoding_format") == "base64" else vector for vector in vectors]
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError, struct.error) as exc:
        raise UpstreamFailure(FailureKind.MALFORMED, "the upstream's answer holds no embeddings") from exc
    if len(vectors) != len(_texts(body.get("input"))):
        message = f"the upstream's answer holds {len(vectors)} embeddings, not one for each text"
        raise UpstreamFailure(FailureKind.MALFORMED, message)
    usage = _usage(value, bounds)
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
        self._pass()
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


def _usage(value: Any, bounds: UsageBounds) -> Usage | None:
    metadata = value.get("usageMetadata")
    tokens = count(metadata.get("promptTokenCount")) if isinstance(metadata, dict) else None
    return None if tokens is None else bounded(Usage(input=tokens), bounds)
