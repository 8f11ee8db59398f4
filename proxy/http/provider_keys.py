"""`/v1/provider-keys`: the provider keys of the calling user. No answer contains a key, only its fingerprint."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from proxy.admission.permissions import PRINCIPAL
from proxy.core.errors import InvalidRequest, NotAllowed
from proxy.core.principal import Principal
from proxy.http.reading import BodyReader
from proxy.upstream.own_key_service import OwnKeyService

_FIELDS = ("provider", "value")


class OwnProviderKeys:
    """The endpoints; a caller sees and changes the keys of its own user only."""

    def __init__(self, service: OwnKeyService, read: BodyReader) -> None:
        self._service = service
        self._read = read

    async def list(self, request: Request) -> Response:
        """`GET /v1/provider-keys`: at most one key for each provider."""
        user, _ = _caller(request)
        return JSONResponse(await self._service.page(user))

    async def put(self, request: Request) -> Response:
        """`PUT /v1/provider-keys`: store a key, in place of the earlier one for this provider."""
        user, name = _caller(request)
        provider, value = _body(await self._read(request))
        row = await self._service.put(user, provider, value, name, by_user=True)
        return JSONResponse(row, 201 if row["version"] == 1 else 200)

    async def delete(self, request: Request) -> Response:
        """`DELETE /v1/provider-keys/{id}`."""
        user, name = _caller(request)
        return JSONResponse(await self._service.delete(request.path_params["id"], name, user=user))


def _caller(request: Request) -> tuple[str, str]:
    """Return the user and the caller's name. Raises `NotAllowed` without a user."""
    principal: Principal = request.scope[PRINCIPAL]
    if principal.user is None:
        message = "Provider keys belong to a user, and this credential does not; use one of a user."
        raise NotAllowed(message, code="insufficient_permissions")
    return principal.user, principal.name


def _body(raw: bytes) -> tuple[str, str]:
    """Return provider and value. Raises `InvalidRequest`; no error contains a value."""
    try:
        body: Any = json.loads(raw)
    except (ValueError, RecursionError):
        raise InvalidRequest("The body is not valid JSON.") from None
    if not isinstance(body, dict):
        raise InvalidRequest("The body must be a JSON object with `provider` and `value`.", param="body")
    for name in (*_FIELDS, *body):
        if name not in _FIELDS:
            message = f"`{name[:80]}`: there is no such field; the fields are `provider` and `value`."
            raise InvalidRequest(message, param=name[:80])
        if not isinstance(body.get(name), str):
            raise InvalidRequest(f"`{name}` must be a string.", param=name)
    return body["provider"], body["value"]
