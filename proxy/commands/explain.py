"""`signalbox route` and `signalbox explain`: why a call goes, or went, where; imports what it needs when it runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from proxy.commands.options import config_option, json_option

if TYPE_CHECKING:
    from proxy.commands.shell import Shell

_ATTEMPTS = ("number", "provider", "model", "provider_key", "outcome", "status", "ms", "cost_usd", "cause")
_CALL = (
    "id",
    "request_id",
    "time",
    "model",
    "route",
    "provider",
    "upstream_model",
    "status",
    "outcome",
    "code",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "cost_usd",
    "ms",
    "ttft_ms",
    "queue_ms",
    "rating",
    "rating_reasons",
)
_JUDGEMENTS = ("source", "model", "score", "time", "comment")


@click.command()
@click.argument("prompt", required=False)
@click.option("--model", "-m", help="The `model` of the call. Default: auto, or that of the body.")
@click.option(
    "--option", "-o", "options", multiple=True, metavar="NAME=VALUE", help="A router option of the call; repeatable."
)
@click.option(
    "--body",
    type=click.File("rb"),
    help="A file with the JSON body of a chat, Responses or Messages request instead of a prompt; - is standard input.",
)
@json_option
@config_option
def route(
    prompt: str | None, model: str | None, options: tuple[str, ...], body: Any, as_json: bool, config: Path | None
) -> None:
    """Print how PROMPT would be routed, and why, without calling a provider."""
    from proxy.commands.decisions import decision_text
    from proxy.commands.tables import echo_json
    from proxy.core.errors import ProxyError

    if (prompt is None) == (body is None):
        raise click.UsageError("give either a PROMPT or --body.")
    headers = {f"x-router-{name.replace('_', '-')}": value for name, value in map(_pair, options)}
    try:
        decision = _decision(_body(prompt, body, model), headers, config)
    except ProxyError as exc:
        raise click.UsageError(str(exc)) from exc
    if as_json:
        echo_json(decision)
    else:
        click.echo(decision_text(decision))


@click.command()
@click.argument("id", metavar="REQUEST_ID")
@click.option("--url", help="Ask the running service at this URL, with the token in SIGNALBOX_ADMIN_TOKEN.")
@json_option
@config_option
def explain(id: str, url: str | None, as_json: bool, config: Path | None) -> None:
    """Print why a recorded call went where it did: its decision record and its attempts.

    REQUEST_ID is the header `x-router-id` of the answer.
    """
    from proxy.commands.shell import run
    from proxy.commands.tables import echo_json

    found = run(config, lambda shell: _recorded(shell, id)) if url is None else _asked(url, id)
    if as_json:
        echo_json(found)
    else:
        click.echo(explanation(found))


def explanation(call: Mapping[str, Any]) -> str:
    """Return a record of `GET /admin/requests/{id}` as text."""
    from proxy.commands.decisions import decision_text
    from proxy.commands.tables import block, table

    fields = {name: call[name] for name in _CALL if call.get(name) not in (None, "", [])}
    blocks = [block(fields)]
    decision = call.get("decision")
    blocks.append("The call was not routed." if decision is None else decision_text(decision))
    attempts = call.get("attempts") or ()
    blocks.append(table(_ATTEMPTS, attempts) if attempts else "There was no attempt.")
    if judgements := call.get("judgements"):
        blocks.append(table(_JUDGEMENTS, judgements))
    return "\n\n".join(blocks)


def _body(prompt: str | None, body: Any, model: str | None) -> bytes:
    """Return the body of the request. Raises `ProxyError` if the file has no JSON object."""
    from proxy.core.body import parse
    from proxy.core.json_text import compact

    if body is None:
        return compact({"model": model or "auto", "messages": [{"role": "user", "content": prompt}]})
    raw: bytes = body.read()
    members = dict(parse(raw).body)
    if model is None and "model" in members:
        return raw
    return compact({**members, "model": model or "auto"})


def _decision(raw: bytes, headers: Mapping[str, str], path: Path | None) -> dict[str, Any]:
    """Return the decision record of a body. Raises `ProxyError` if no target can serve it."""
    from proxy.commands.configurations import loaded
    from proxy.config.compile.snapshot import compile_snapshot
    from proxy.routing.classify.strongest import with_words
    from proxy.routing.router import Router, Unmeasured
    from proxy.surfaces.any_shape import read_any_shape

    snapshot = compile_snapshot(loaded(path).settings)
    call = read_any_shape(raw, headers, id="", request_id="", snapshot=snapshot)
    plan = asyncio.run(Router(Unmeasured()).route(call))
    return with_words(plan.decision, call)


async def _recorded(shell: Shell, id: str) -> dict[str, Any]:
    """Return the record of a call, as `GET /admin/requests/{id}` does. Raises `NotFound`."""
    from proxy.admin.requests import whole_record
    from proxy.core.errors import NotFound
    from proxy.store.learning import LearningStore

    found = await shell.ledger.request(id)
    if found is None:
        raise NotFound(
            "There is no such call in the store; it takes calls about a second after their end, and deletes old ones."
        )
    return whole_record(*found, await LearningStore(shell.database).judgements(id))


def _asked(url: str, id: str) -> dict[str, Any]:
    """Return the record of a call that a running service has."""
    import json
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError
    from urllib.parse import quote
    from urllib.request import ProxyHandler, Request, build_opener

    if not url.startswith(("http://", "https://")):
        raise click.BadParameter("must start with http:// or https://", param_hint="--url")
    token = os.environ.get("SIGNALBOX_ADMIN_TOKEN")
    if not token:
        raise click.UsageError("--url needs the admin token of the service in SIGNALBOX_ADMIN_TOKEN.")
    request = Request(f"{url.rstrip('/')}/admin/requests/{quote(id)}", headers={"authorization": f"Bearer {token}"})
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=30) as answer:
            found = json.loads(answer.read())
    except HTTPError as exc:
        raise click.ClickException(f"{url}: {_message(exc)}") from None
    except (URLError, OSError, ValueError, HTTPException) as exc:
        raise click.ClickException(f"{url}: {exc}") from exc
    if not isinstance(found, dict):
        raise click.ClickException(f"{url}: the answer is no record of a call.")
    return found


def _message(error: Any) -> str:
    """Return the message of an error of the service."""
    from proxy.core.json_text import object_of

    with error:
        body = object_of(error.read()) or {}
    detail = body.get("error")
    return str(detail["message"]) if isinstance(detail, dict) and "message" in detail else str(error)


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--option")
    return name, value
