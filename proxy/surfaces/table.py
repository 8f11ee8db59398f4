"""The table of endpoints: the surface of every proxied path."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from proxy.surfaces.base import Surface
from proxy.surfaces.lazy import LazySurface
from proxy.surfaces.openai.chat import read_chat
from proxy.surfaces.openai.endpoints import PASSED, read_passed
from proxy.surfaces.openai.surface import OpenAISurface

SURFACES: Mapping[str, Surface] = {
    "/v1/chat/completions": OpenAISurface(read_chat),
    **{f"/v1{endpoint.path}": OpenAISurface(partial(read_passed, endpoint)) for endpoint in PASSED},
    "/v1/messages": LazySurface("proxy.surfaces.messages.surface", "MESSAGES"),
    "/v1/messages/count_tokens": LazySurface("proxy.surfaces.messages.surface", "COUNT_TOKENS"),
    "/v1/responses": LazySurface("proxy.surfaces.responses.surface", "RESPONSES"),
}
