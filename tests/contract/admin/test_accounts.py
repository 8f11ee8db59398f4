"""Keys, users and teams by the admin API, over each database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest

from proxy.admission.keys import Peppers, is_well_formed
from proxy.core.accounts import Budget
from proxy.core.model import LimitValues
from proxy.core.principal import OF_MODEL, Identified
from proxy.store.accounts import Accounts
from proxy.store.database import Database
from tests.contract.admin.box import PEPPER, Box, boxed
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio

NO_LIMITS = {"rpm": None, "rpd": None, "tpm": None, "tpd": None, "concurrency": None}
PAYLOADS = ["'OR/**/1=1--", "';DROP/**/TABLE/**/keys;--", "%", "_", '"', "\\", "${jndi:x}", "=cmd|'/C'!A0", "<b>"]
KINDS: dict[str, dict[str, Any]] = {"keys": {"name": "n"}, "users": {"id": "ann"}, "teams": {"id": "red"}}


@pytest.fixture
async def box(database: Database) -> AsyncIterator[Box]:
    async with boxed(database) as box:
        yield box


async def test_a_user_and_a_team_are_created_with_their_defaults(box: Box) -> None:
    team = await box.ok("POST", "teams", {"id": "red"})
    user = await box.ok("POST", "users", {"id": "ann", "team": "red"})

    common = {"models": None, "limits": NO_LIMITS, "model_limits": {}, "budget": None, "disabled": False}
    created = {"created_at": "2027-01-15T08:16:40Z"}
    assert team == {"id": "red", **common, **created}
    assert user == {"id": "ann", "role": "member", "team": "red", **common, **created}


async def test_a_key_is_shown_once(box: Box, database: Database) -> None:
    answer = await box.http.post("/admin/keys", json={"name": "laptop"})
    made = answer.json()

    listed = await box.ok("GET", "keys")
    shown = await box.ok("GET", f"keys/{made['id']}")
    account = await Accounts(database, FakeClock()).find_key(Peppers([PEPPER]).digest(made["key"]))

    assert answer.status_code == 201
    assert is_well_formed(made["key"])
    assert (made["prefix"], made["last4"]) == (made["key"][:8], made["key"][-4:])
    assert listed["data"] == [shown]
    assert {**shown, "key": made["key"]} == made
    assert account is not None
    assert account.key is not None
    assert account.key.id == made["id"]


async def test_a_key_has_all_its_fields(box: Box) -> None:
    await box.ok("POST", "users", {"id": "ann"})
    fields = {
        "name": "Ann's laptop",
        "user": "ann",
        "models": ["openai/*", "tier/low"],
        "limits": {"rpm": 5, "tpd": 1_000_000},
        "model_limits": {"openai/gpt-4o": {"rpm": 2}},
        "budget": {"usd": 5, "period": "week", "hard": False},
        "expires_at": "2027-06-01T00:00:00+02:00",
        "metadata": {"purpose": "tests", "deep": [1, None]},
    }

    made = await box.ok("POST", "keys", fields)

    assert {name: made[name] for name in fields} == {
        **fields,
        "limits": {**NO_LIMITS, "rpm": 5, "tpd": 1_000_000},
        "model_limits": {"openai/gpt-4o": {**NO_LIMITS, "rpm": 2}},
        "budget": {"usd": 5.0, "period": "week", "hard": False, "timezone": "UTC"},
        "expires_at": "2027-05-31T22:00:00Z",
    }
    assert made["created_by"] == "admin-token"


async def test_a_change_changes_what_it_names(box: Box) -> None:
    made = await box.ok(
        "POST", "keys", {"name": "n", "limits": {"rpm": 5, "tpm": 9}, "budget": {"usd": 1, "period": "day"}}
    )
    path = f"keys/{made['id']}"

    changed = await box.ok("PATCH", path, {"limits": {"rpm": None}, "budget": {"usd": 2}, "disabled": True})
    cleared = await box.ok("PATCH", path, {"budget": None, "limits": None, "metadata": None})

    del made["key"]
    assert changed == {
        **made,
        "disabled": True,
        "limits": {**NO_LIMITS, "tpm": 9},
        "budget": {"usd": 2.0, "period": "day", "hard": True, "timezone": "UTC"},
    }
    assert cleared == {**changed, "budget": None, "limits": NO_LIMITS}
    assert await box.ok("GET", path) == cleared


async def test_limits_of_models_change_one_by_one(box: Box) -> None:
    for kind, body in KINDS.items():
        made = await box.ok("POST", kind, body | {"model_limits": {"a/*": {"rpm": 1, "tpm": 9}, "b/c": {"rpd": 2}}})
        path = f"{kind}/{made['id']}"

        changed = await box.ok("PATCH", path, {"model_limits": {"a/*": {"rpm": 3}, "b/c": None, "d": {"rpm": 4}}})
        ended = await box.ok("PATCH", path, {"model_limits": {"a/*": {"rpm": None, "tpm": None}}})
        cleared = await box.ok("PATCH", path, {"model_limits": None})

        assert changed["model_limits"] == {"a/*": {**NO_LIMITS, "rpm": 3, "tpm": 9}, "d": {**NO_LIMITS, "rpm": 4}}
        assert ended["model_limits"] == {"d": {**NO_LIMITS, "rpm": 4}}
        assert cleared["model_limits"] == {}


async def test_concurrent_changes_of_one_object_all_count(box: Box) -> None:
    made = await box.ok("POST", "keys", {"name": "n"})
    path = f"keys/{made['id']}"
    changes: list[dict[str, Any]] = [{"limits": {kind: 7}} for kind in NO_LIMITS]
    changes += [{"name": "renamed"}, {"budget": {"usd": 1}}, {"models": ["openai/*"]}]

    async with asyncio.TaskGroup() as group:
        for body in changes:
            group.create_task(box.ok("PATCH", path, body))
    row = await box.ok("GET", path)

    assert row["limits"] == dict.fromkeys(NO_LIMITS, 7)
    assert (row["name"], row["budget"]["usd"], row["models"]) == ("renamed", 1.0, ["openai/*"])


async def test_every_change_drops_cached_callers_in_all_workers(box: Box) -> None:
    await box.ok("POST", "users", {"id": "ann"})
    await box.ok("PATCH", "users/ann", {"disabled": True})
    await box.ok("DELETE", "users/ann")

    assert len(box.forgotten) == 3
    assert box.asked == ["forget"] * 3


async def test_what_does_not_exist_is_a_404(box: Box) -> None:
    for kind in KINDS:
        for method, body in (("GET", None), ("PATCH", {"disabled": True}), ("DELETE", None)):
            assert (await box.error(method, f"{kind}/nothing", body))[0] == 404


async def test_an_id_is_used_once(box: Box) -> None:
    for kind in ("users", "teams"):
        await box.ok("POST", kind, {"id": "ann"})

        assert (await box.error("POST", kind, {"id": "ann"}))[:2] == (400, "id")


async def test_an_unknown_owner_is_created(box: Box) -> None:
    made = await box.ok("POST", "keys", {"name": "n", "user": "bob", "team": "blue"})
    await box.ok("PATCH", f"keys/{made['id']}", {"user": "eve"})
    await box.ok("POST", "users", {"id": "ann", "team": "red"})

    users = (await box.ok("GET", "users"))["data"]
    teams = (await box.ok("GET", "teams"))["data"]
    assert {user["id"]: (user["team"], user["role"], user["budget"]) for user in users} == {
        "ann": ("red", "member", None),
        "bob": ("blue", "member", None),
        "eve": (None, "member", None),
    }
    assert [team["id"] for team in teams] == ["blue", "red"]


async def test_a_restricted_admin_creates_no_owner_without_limits(database: Database) -> None:
    async with boxed(database, RESTRICTED) as box:
        for field, id in (("user", "bob"), ("team", "blue")):
            status, param, message = await box.error("POST", "keys", {"name": "n", field: id} | WITHIN)

            assert (status, param) == (400, field)
            assert f"there is no {field} `{id}`; create it first" in message
        assert (await box.ok("GET", "users"))["data"] == []


INVALID: list[tuple[dict[str, Any], str]] = [
    ({}, "name"),
    ({"name": ""}, "name"),
    ({"name": None}, "name"),
    ({"name": "n", "nmae": 1}, "nmae"),
    ({"name": "n", "key": "sb-mine"}, "key"),
    ({"name": "n", "id": "key_mine"}, "id"),
    ({"name": "n", "limits": {"rpm": 0}}, "limits.rpm"),
    ({"name": "n", "limits": {"rps": 1}}, "limits.rps"),
    ({"name": "n", "model_limits": {"": {"rpm": 1}}}, "model_limits"),
    ({"name": "n", "model_limits": {"a b": {"rpm": 1}}}, "model_limits"),
    ({"name": "n", "model_limits": {"a/b": {"rpm": 0}}}, "model_limits.a/b.rpm"),
    ({"name": "n", "model_limits": {f"a/{number}": {"rpm": 1} for number in range(51)}}, "model_limits"),
    ({"name": "n", "budget": {"period": "day"}}, "budget"),
    ({"name": "n", "budget": {"usd": -1}}, "budget.usd"),
    ({"name": "n", "expires_at": "2020-01-01"}, "expires_at"),
    ({"name": "n", "expires_at": 5}, "expires_at"),
    ({"name": "n", "models": "openai/*"}, "models"),
    ({"name": "n", "metadata": {"a": "\0"}}, "metadata"),
    ({"name": "n", "disabled": "no"}, "disabled"),
]


async def test_an_invalid_field_is_named(box: Box) -> None:
    answers = [(await box.error("POST", "keys", body))[:2] for body, _ in INVALID]

    assert answers == [(400, field) for _, field in INVALID]
    assert (await box.ok("GET", "keys"))["data"] == []


async def test_lists_have_pages(box: Box) -> None:
    for number in range(5):
        await box.ok("POST", "teams", {"id": f"t{number}"})

    first = await box.ok("GET", "teams", limit=2)
    second = await box.ok("GET", "teams", limit=3, after=first["last_id"])

    assert [row["id"] for row in first["data"]] == ["t0", "t1"]
    assert (first["has_more"], first["last_id"]) == (True, "t1")
    assert [row["id"] for row in second["data"]] == ["t2", "t3", "t4"]
    assert (second["has_more"], second["last_id"]) == (False, "t4")


async def test_an_invalid_limit_is_named(box: Box) -> None:
    for limit in ("0", "1001", "-1", "x", "", "1e3", "00001000", "9" * 30):
        assert (await box.error("GET", "keys", limit=limit))[:2] == (400, "limit")


async def test_payloads_are_plain_text(box: Box) -> None:
    await box.ok("POST", "teams", {"id": "red"})
    for payload in PAYLOADS:
        await box.ok("POST", "users", {"id": payload, "team": "red"})
        fields = {"name": payload, "user": payload, "models": [payload], "metadata": {payload: payload}}
        made = await box.ok("POST", "keys", fields)

        assert {name: made[name] for name in fields} == fields
        assert (await box.ok("GET", f"users/{quote(payload, safe='')}"))["id"] == payload
        assert {row["id"] for row in (await box.ok("GET", "audit", id=payload))["data"]} == {payload}
        assert (await box.ok("GET", "requests", key=payload, model=payload, outcome=payload))["data"] == []
        assert (await box.ok("GET", "usage", group_by="key", user=payload))["data"] == []
    assert {row["id"] for row in (await box.ok("GET", "users"))["data"]} == set(PAYLOADS)
    assert len((await box.ok("GET", "keys"))["data"]) == len(PAYLOADS)


async def test_ids_that_no_object_has_are_harmless(box: Box) -> None:
    for value in ("\0", "a\0b", "x" * 300, "\n", "x" * 20_000):
        for path in ("keys", "users", "teams", "audit", "requests", "budgets"):
            assert (await box.error("GET", path, after=value))[:2] == (400, "after")
        for path in KINDS:
            assert (await box.error("POST", path, {"id": value, "name": value}))[0] == 400
        for name in ("key", "user", "model", "provider", "outcome"):
            assert (await box.error("GET", "requests", **{name: value}))[:2] == (400, name)
        assert (await box.error("GET", "usage", key=value))[:2] == (400, "key")
        assert (await box.error("GET", "audit", id=value))[:2] == (400, "id")


async def test_paths_that_no_object_has_are_a_404(box: Box) -> None:
    for path in ("users/a%00b", "keys/%00", "requests/%00", "teams/%F0%9F%92%A9%0A", "users/..%2f..%2fetc"):
        assert (await box.http.get(f"/admin/{path}")).status_code == 404


async def test_a_team_in_use_cannot_be_deleted(box: Box) -> None:
    await box.ok("POST", "teams", {"id": "red"})
    await box.ok("POST", "users", {"id": "ann", "team": "red"})

    status, _, message = await box.error("DELETE", "teams/red")
    await box.ok("DELETE", "users/ann")

    assert (status, "has users" in message) == (400, True)
    assert await box.ok("DELETE", "teams/red") == {"id": "red", "deleted": True}


async def test_the_keys_of_a_deleted_user_are_deleted(box: Box) -> None:
    await box.ok("POST", "users", {"id": "ann"})
    await box.ok("POST", "keys", {"name": "n", "user": "ann"})

    await box.ok("DELETE", "users/ann")

    assert (await box.ok("GET", "keys"))["data"] == []


async def test_changes_are_audited_without_secrets(box: Box) -> None:
    made = await box.ok("POST", "keys", {"name": "n", "budget": {"usd": 1}})
    await box.ok("PATCH", f"keys/{made['id']}", {"budget": {"usd": 2}, "disabled": True})
    await box.ok("DELETE", f"keys/{made['id']}")

    answer = await box.http.get("/admin/audit")
    rows = answer.json()["data"]

    assert [(row["action"], row["kind"], row["id"], row["actor"]) for row in rows] == [
        (action, "key", made["id"], "admin-token") for action in ("delete", "replace", "create")
    ]
    budget = {"period": "month", "hard": True, "timezone": "UTC"}
    assert rows[1]["changes"] == {"budget": [{"usd": 1.0, **budget}, {"usd": 2.0, **budget}], "disabled": [False, True]}
    assert made["key"] not in answer.text
    assert "digest" not in answer.text


async def test_the_audit_log_has_pages_and_filters(box: Box) -> None:
    for id in ("a", "b", "c"):
        await box.ok("POST", "teams", {"id": id})

    first = await box.ok("GET", "audit", limit=2)
    rest = await box.ok("GET", "audit", limit=2, after=first["last_id"])

    assert [row["id"] for row in first["data"] + rest["data"]] == ["c", "b", "a"]
    assert (first["has_more"], rest["has_more"]) == (True, False)
    assert [row["id"] for row in (await box.ok("GET", "audit", id="b", kind="team"))["data"]] == ["b"]


# An admin who is restricted itself


RESTRICTED = Identified(
    "key:ann",
    role="admin",
    models=(("openai/*",),),
    limits=((("user", "ann"), LimitValues(rpm=10)), (("user", "ann", OF_MODEL, "openai/o*"), LimitValues(rpd=4))),
    budgets=(("user", "ann", Budget(5 * 10**9)),),
)
WITHIN = {
    "models": ["openai/gpt-4o"],
    "limits": {"rpm": 10},
    "model_limits": {"openai/o*": {"rpd": 4}},
    "budget": {"usd": 5},
}


BEYOND: list[dict[str, Any]] = [
    {"models": None},
    {"models": ["*"]},
    {"limits": {"rpm": 11}},
    {"limits": {"rpm": None}},
    {"model_limits": {"openai/o*": {"rpd": 5}}},
    {"model_limits": None},
    {"budget": {"usd": 6}},
    {"budget": None},
]


async def test_a_restricted_admin_grants_only_what_it_has(database: Database) -> None:
    async with boxed(database, RESTRICTED) as box:
        for kind, body in KINDS.items():
            made = await box.ok("POST", kind, body | WITHIN)
            created = [await box.error("POST", kind, body | WITHIN | beyond) for beyond in BEYOND]
            changed = [await box.error("PATCH", f"{kind}/{made['id']}", beyond) for beyond in BEYOND]

            assert {status for status, _, _ in created + changed} == {403}
            assert (await box.ok("GET", "audit"))["data"][0]["actor"] == "key:ann"
            assert len((await box.ok("GET", kind))["data"]) == 1


async def test_an_auditor_only_reads(database: Database) -> None:
    async with boxed(database, Identified("eve", role="auditor")) as box:
        reads = [await box.http.get(f"/admin/{path}") for path in ("keys", "audit", "usage", "requests", "budgets")]
        writes = [await box.error("POST", kind, body) for kind, body in KINDS.items()]

    assert {answer.status_code for answer in reads} == {200}
    assert {status for status, _, _ in writes} == {403}
