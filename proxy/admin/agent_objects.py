"""Operations on agents, as `/admin/agents` uses them. Bodies and answers are plain values (`docs/agents.md`)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from proxy.admin.actor import Actor
from proxy.admin.objects import shown_id
from proxy.admin.pages import invalid_after
from proxy.admin.storage import AgentParts
from proxy.core.agents import LATEST, PRODUCTION, Agent, StoredAgent, StoredVersion, agent_name
from proxy.core.errors import InvalidRequest, ModelNotFound, NotAllowed, NotFound
from proxy.core.snapshot import Snapshot
from proxy.core.timestamps import iso
from proxy.routing.names import resolve
from proxy.store.agents import NEWEST
from proxy.store.errors import Exists, InvalidValue, Missing

MICROSECONDS = 1_000_000
_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MAX_DIGITS = 9
_DEFAULTS: Mapping[str, Any] = {"instructions": "", "tools": [], "params": {}, "variables": {}, "description": ""}

Labels = dict[str, int | None]


class AgentObjects:
    """The operations. Every method raises `ProxyError`; a change is in force when it returns."""

    def __init__(
        self,
        parts: AgentParts,
        snapshot: Snapshot,
        changed: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = parts.store
        self._known = parts.known
        self._snapshot = snapshot
        self._file = parts.known.file
        self._changed = changed  # awaited after every change

    async def rows(self) -> list[dict[str, Any]]:
        """Return all agents in the order of their ids."""
        await self._known.refresh()
        rows = {id: _stored_row(agent) for id, agent in self._known.stored.items()}
        rows |= {id: _file_row(agent) for id, agent in self._file.items()}
        return [rows[id] for id in sorted(rows)]

    async def row(self, id: str) -> dict[str, Any]:
        """Return one agent."""
        if id in self._file:
            return _file_row(self._file[id])
        return _stored_row(await self._found(id))

    async def create(self, actor: Actor, values: Mapping[str, Any]) -> dict[str, Any]:
        """Create an agent, and return it."""
        fields = dict(values)
        id, labels = fields.pop("id", None), _labels(fields.pop("labels", None), {PRODUCTION: NEWEST})
        if not isinstance(id, str) or not _ID.fullmatch(id):
            message = "`id`: must be 1 to 100 letters, digits, `.`, `_` and `-`, and start with a letter or digit."
            raise InvalidRequest(message, param="id")
        self._not_of_the_file(id)
        definition = self._checked(actor, id, fields)
        try:
            await self._store.create(id, definition, labels, actor.name)
        except Exists:
            message = f"`id`: there is an agent `{id}` already; change it with PATCH, or choose another id."
            raise InvalidRequest(message, param="id") from None
        except Missing as exc:
            raise InvalidRequest(f"`labels`: {exc}.", param="labels") from None
        except InvalidValue as exc:
            raise _too_large(exc) from None
        await self._changed()
        return await self.row(id)

    async def change(self, actor: Actor, id: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Add a version with the fields in `values` changed (`None`: the default), or move labels only."""
        fields = dict(values)
        labels = _labels(fields.pop("labels", None), {PRODUCTION: NEWEST} if fields else {})
        if not fields and not labels:
            raise InvalidRequest("The body is empty; name the fields to change.", param="body")

        def merged(before: Mapping[str, Any]) -> Mapping[str, Any]:
            both = {**before, **fields}
            return self._checked(actor, id, {name: value for name, value in both.items() if value is not None})

        await self._write(actor, id, merged if fields else None, labels)
        return await self.row(id)

    async def add(self, actor: Actor, id: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Add a version, which is defined by `values` alone, and return it."""
        fields = dict(values)
        labels = _labels(fields.pop("labels", None), {})
        definition = self._checked(actor, id, fields)
        await self._write(actor, id, lambda before: definition, labels)
        return await self.version(id, LATEST)

    async def label(self, actor: Actor, id: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Move the label `label` to the version `version`, and return it."""
        for name in values:
            if name not in ("label", "version"):
                where = shown_id(name)
                raise InvalidRequest(f"`{where}`: there is no such field; give `label` and `version`.", param=where)
        label, version = values.get("label"), values.get("version")
        if not isinstance(label, str) or version is None:
            missing = "version" if isinstance(label, str) else "label"
            raise InvalidRequest(f"`{missing}`: is required.", param=missing)
        await self._write(actor, id, None, _labels({label: version}, {}))
        return _label_row(label, (await self._found(id)).labels[label])

    async def labels(self, id: str) -> list[dict[str, Any]]:
        """Return the labels of an agent."""
        if id in self._file:
            return [_label_row(PRODUCTION, self._file[id].version)]
        return [_label_row(label, version) for label, version in sorted((await self._found(id)).labels.items())]

    async def versions(self, id: str, limit: int, after: str | None) -> dict[str, Any]:
        """Return the versions of an agent after the id `after`, the newest first."""
        if id in self._file:
            data, more = [_file_version_row(self._file[id])], False
        else:
            agent = await self._found(id)
            before = None if after is None else _number(after.removeprefix(f"{id}@"))
            if after is not None and before is None:
                raise invalid_after()
            rows = await self._store.versions(id, before, limit + 1)
            data, more = [_version_row(agent, row) for row in rows[:limit]], len(rows) > limit
        return {"object": "list", "data": data, "has_more": more, "last_id": data[-1]["id"] if data else None}

    async def version(self, id: str, version: str) -> dict[str, Any]:
        """Return one version, by its number or a label."""
        if id in self._file:
            row = _file_version_row(self._file[id])
            if version in (row["version"], PRODUCTION, LATEST):
                return row
        else:
            agent = await self._found(id)
            number = agent.latest if version == LATEST else agent.labels.get(version) or _number(version)
            found = agent.versions.get(number) if number else None
            if found is None and number:
                found = await self._store.version(id, number)
            if found is not None:
                return _version_row(agent, found)
        raise NotFound(f"The agent `{id}` has no version or label `{shown_id(version)}`.")

    async def delete(self, actor: Actor, id: str) -> dict[str, Any]:
        """Delete an agent with all its versions."""
        self._not_of_the_file(id)
        try:
            await self._store.delete(id, actor.name)
        except Missing:
            raise _missing(id) from None
        await self._changed()
        return {"id": id, "deleted": True}

    async def _write(
        self, actor: Actor, id: str, define: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None, labels: Labels
    ) -> None:
        self._not_of_the_file(id)
        agent = await self._found(id)
        if define is None:
            labels = {label: agent.latest if version == NEWEST else version for label, version in labels.items()}
        for version in filter(None, labels.values()):
            await self._check_moved(actor, agent, version)
        try:
            await self._store.change(id, define, labels, actor.name)
        except Missing as exc:
            raise InvalidRequest(f"`labels`: {exc}.", param="labels") from None
        except InvalidValue as exc:
            raise _too_large(exc) from None
        await self._changed()

    async def _check_moved(self, actor: Actor, agent: StoredAgent, version: int) -> None:
        """Raise `NotAllowed` if the actor may not use the model of a version that gets a label."""
        found = agent.versions.get(version) or await self._store.version(agent.id, version)
        if found is not None:
            _check_grant(actor, str(found.fields.get("model")))

    def _checked(self, actor: Actor, id: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a definition that can be used. Raises `InvalidRequest` and `NotAllowed`."""
        model = self._known.read(id, fields).model
        if agent_name(self._snapshot.aliases, model):
            raise InvalidRequest("`model`: is an agent; name a model, an alias of one or a route.", param="model")
        try:
            rule = resolve(replace(self._snapshot, agents={}), model, use_default=False)
        except ModelNotFound as exc:
            raise InvalidRequest(f"`model`: {exc}", param="model") from None
        targets = rule.members.targets
        if targets and not any(target.deployment.kind == "chat" for target in targets):
            raise InvalidRequest("`model`: is not a model for chats.", param="model")
        _check_grant(actor, model)
        return fields

    async def _found(self, id: str) -> StoredAgent:
        await self._known.refresh()
        agent = self._known.stored.get(id)
        if agent is None:
            raise _missing(id)
        return agent

    def _not_of_the_file(self, id: str) -> None:
        if id in self._file:
            message = f"The agent `{id}` is defined in the configuration file; change it there."
            raise InvalidRequest(message, param="id")


def _check_grant(actor: Actor, model: str) -> None:
    if actor.principal is not None and not actor.principal.allows((model,)):
        raise NotAllowed("`model`: your own credential does not allow this model.", param="model")


def _labels(value: Any, default: Labels) -> Labels:
    """Return the versions of labels. Raises `InvalidRequest`."""
    if value is None:
        return default
    if not isinstance(value, dict):
        raise InvalidRequest('`labels`: must be an object, such as `{"production": 2}`.', param="labels")
    labels: Labels = {}
    for label, version in value.items():
        where = f"labels.{shown_id(label)}"
        if not _LABEL.fullmatch(label) or label == LATEST:
            message = "must be at most 64 letters, digits, `.`, `_` and `-`, start with a letter, and not be `latest`"
            raise InvalidRequest(f"`{where}`: a label {message}.", param=where)
        number = None if isinstance(version, bool) else _number(str(version))
        if version is not None and version != LATEST and number is None:
            raise InvalidRequest(f"`{where}`: must be the number of a version, `latest` or null.", param=where)
        labels[label] = NEWEST if version == LATEST else number
    return labels


def _number(text: str) -> int | None:
    """Return the number of a version; `None` if it is none."""
    if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS and not text.startswith("0"):
        return int(text)
    return None


def _stored_row(agent: StoredAgent) -> dict[str, Any]:
    """Return an agent with the definition that its name stands for, else its newest one."""
    number = agent.labels.get(PRODUCTION, agent.latest)
    return {
        "id": agent.id,
        "source": "store",
        "version": str(number),
        "latest": str(agent.latest),
        "labels": {label: str(version) for label, version in sorted(agent.labels.items())},
        **_definition(agent.versions[number].fields if number in agent.versions else {}),
        "created_at": iso(agent.created_at / MICROSECONDS),
        "updated_at": iso(agent.updated_at / MICROSECONDS),
    }


def _file_row(agent: Agent) -> dict[str, Any]:
    version = {"version": agent.version, "latest": agent.version, "labels": {PRODUCTION: agent.version}}
    return {"id": agent.id, "source": "file", **version, **_of_file(agent), "created_at": None, "updated_at": None}


def _version_row(agent: StoredAgent, version: StoredVersion) -> dict[str, Any]:
    return {
        "id": f"{agent.id}@{version.version}",
        "version": str(version.version),
        "labels": sorted(label for label, number in agent.labels.items() if number == version.version),
        **_definition(version.fields),
        "created_at": iso(version.created_at / MICROSECONDS),
        "created_by": version.created_by,
    }


def _file_version_row(agent: Agent) -> dict[str, Any]:
    version = {"id": f"{agent.id}@{agent.version}", "version": agent.version, "labels": [PRODUCTION]}
    return {**version, **_of_file(agent), "created_at": None, "created_by": None}


def _label_row(label: str, version: int | str) -> dict[str, Any]:
    return {"id": label, "label": label, "version": str(version)}


def _of_file(agent: Agent) -> dict[str, Any]:
    return _definition({name: getattr(agent, name) for name in ("model", *_DEFAULTS)})


def _definition(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return all fields of a definition, with the defaults of those that it does not have."""
    return {"model": fields.get("model"), **{name: fields.get(name, _DEFAULTS[name]) for name in _DEFAULTS}}


def _missing(id: str) -> NotFound:
    return NotFound(f"There is no agent `{shown_id(id)}`; `GET /admin/agents` lists all.")


def _too_large(exc: InvalidValue) -> InvalidRequest:
    return InvalidRequest(f"The definition cannot be stored: {exc}.")
