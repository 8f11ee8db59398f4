"""The table of endpoints: the surface of every proxied path."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from proxy.surfaces.base import Surface
from proxy.surfaces.lazy import LazySurface
from proxy.surfaces.openai.chat import read_chat
from proxy.surfaces.openai.endpoints import PASSED, read_passed
from proxy.surfaces.openai.surface import OpenAISurface

_GENERATE = "proxy.surfaces.generate.surface"
_GOOGLE = {  # below a version and `/models/`; a model's name may have slashes
    "{model:path}:generateContent": LazySurface(_GENERATE, "GENERATE"),
    "{model:path}:streamGenerateContent": LazySurface(_GENERATE, "GENERATE"),
    "{model:path}:countTokens": LazySurface(_GENERATE, "GENERATE"),
    "{model:path}:embedContent": LazySurface(_GENERATE, "EMBEDDINGS"),
    "{model:path}:batchEmbedContents": LazySurface(_GENERATE, "EMBEDDINGS"),
}

SURFACES: Mapping[str, Surface] = {
    "/v1/chat/completions": OpenAISurface(read_chat),
    **{f"/v1{endpoint.path}": OpenAISurface(partial(read_passed, endpoint)) for endpoint in PASSED},
    "/v1/messages": LazySurface("proxy.surfaces.messages.surface", "MESSAGES"),
    "/v1/messages/count_tokens": LazySurface("proxy.surfaces.messages.surface", "COUNT_TOKENS"),
    "/v1/responses": LazySurface("proxy.surfaces.responses.surface", "RESPONSES"),
    **{f"/{version}/models/{path}": surface for version in ("v1beta", "v1") for path, surface in _GOOGLE.items()},
    "/v1/responses/compact": LazySurface("proxy.surfaces.responses.compaction", "COMPACT"),
    "/v1/responses/input_tokens": LazySurface("proxy.surfaces.responses.input_tokens", "INPUT_TOKENS"),
}
