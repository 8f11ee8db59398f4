"""Exchanges with Anthropic, whole: our own from its documentation, and recorded ones where these are at hand.

A line of `anthropic.jsonl` has the client's `request`, the `native` body it becomes (with what is `dropped`), the
upstream's `answer` (its bytes, as text) and the `facts` that the client gets; `deployment` is what the catalogue knows.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from proxy.core.call import Call
from proxy.core.plan import Target
from proxy.dialects.anthropic.answer import events_of
from tests.support.fakes import cut
from tests.unit.dialects.anthropic.build import USER, call, decoded, dialect, event, facts, outcome, sent, target

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
RECORDINGS = Path(os.environ.get("SIGNALBOX_RECORDINGS", ROOT.parent / "shared" / "recordings"))
FILES = ("anthropic-messages", "fixtures", "errors")


def lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="\n") as file:
        return [json.loads(line) for line in file]


def pairs(*, asked: bool = False, answered: bool | None = None, whole: bool = False) -> list[Any]:
    """Recorded exchanges and what is expected: with a request, an answer (False: an error), one message."""
    found = []
    for name in FILES:
        recorded = {line["id"]: line for line in lines(RECORDINGS / f"{name}.jsonl")}
        for expected in lines(RECORDINGS / f"{name}.expected.jsonl"):
            line = recorded[expected["id"]]
            taken = expected["api"] == "anthropic-messages" and (bool(expected.get("openai_request")) or not asked)
            if answered is not None:
                taken &= (line["response"]["status"] < 400) is answered and "unusable" not in expected["expected"]
            if taken and ("body" in line["response"] or not whole):
                found.append(pytest.param(line, expected, id=expected["id"]))
    return found


OWN = [pytest.param(line, id=line["id"]) for line in lines(HERE / "anthropic.jsonl")]
NONE = [pytest.param({}, {}, marks=pytest.mark.skip(reason=f"no recordings in {RECORDINGS} (SIGNALBOX_RECORDINGS)"))]


def comparison() -> Any:
    """The module that judges translated requests, which lies beside the recordings."""
    path = RECORDINGS.parent / "tools"
    if not (path / "compare.py").is_file():
        pytest.skip(f"no compare.py in {path}")
    if str(path) not in sys.path:
        sys.path.append(str(path))
    return importlib.import_module("compare")


def deployment(line: dict[str, Any]) -> Target:
    members = dict(line["deployment"])
    if "capabilities" in members:
        members["capabilities"] = frozenset(members["capabilities"])
    return target(**members)


def payload(recorded: dict[str, Any]) -> bytes:
    response = recorded["response"]
    return (response["text"] if "text" in response else json.dumps(response["body"], ensure_ascii=False)).encode()


def asked_for(expected: dict[str, Any], *, stream: bool) -> Call:
    body = expected.get("openai_request") or {"messages": [USER]}
    body = {name: value for name, value in body.items() if name not in ("model", "stream", "stream_options")}
    streaming = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    return call(**body, **streaming)


def calls_of(found: dict[str, Any]) -> list[tuple[str, str, Any]]:
    given = [(made["id"], made["function"]) for made in found.get("tool_calls", [])]
    return [(id, function["name"], json.loads(function["arguments"])) for id, function in given]


def usage_facts(usage: dict[str, Any] | None) -> dict[str, int] | None:
    """Usage flat, without the zeros that OpenAI always has."""
    if usage is None:
        return None
    details = {**usage["prompt_tokens_details"], **usage["completion_tokens_details"]}
    flat = {name: value for name, value in usage.items() if isinstance(value, int)}
    return flat | {name: value for name, value in details.items() if value}


@pytest.mark.parametrize("line", OWN)
def test_our_own_exchange_is_translated_both_ways(line: dict[str, Any]) -> None:
    request = call(**line["request"])

    body, dropped = sent(request, deployment(line))
    pieces = cut(line["answer"].encode(), iter(random.Random(7).choices(range(1, 30), k=9999)))
    found = facts(outcome(request, pieces, deployment(line)))

    assert (body, list(dropped)) == (line["native"], line["dropped"])
    found = {name: value for name, value in found.items() if name not in ("role", "model")}
    assert {**found, "usage": usage_facts(found["usage"])} == line["facts"]


@pytest.mark.parametrize(("recorded", "expected"), pairs(asked=True) or NONE)
def test_a_recorded_request_is_translated_as_it_was_sent(recorded: dict[str, Any], expected: dict[str, Any]) -> None:
    body = {name: value for name, value in expected["openai_request"].items() if name != "model"}
    able = target(capabilities=frozenset({"json_schema"}))
    lost, soft = expected.get("not_expressible") or [], expected.get("soft_request") or []

    found, _ = sent(call(**body), able)

    wanted = {**recorded["request"]["body"], "model": "claude-x"}
    differences = comparison().native_diff(recorded["api"], wanted, found, lost, soft)
    assert [difference for difference in differences if difference[0] == "hard"] == []


@pytest.mark.parametrize(("recorded", "expected"), pairs(answered=True) or NONE)
def test_a_recorded_answer_gives_the_expected_facts(recorded: dict[str, Any], expected: dict[str, Any]) -> None:
    wanted, raw = expected["expected"], payload(recorded)
    request = asked_for(expected, stream="text" in recorded["response"])

    found = facts(decoded(request, cut(raw, iter(random.Random(1).choices(range(1, 60), k=99_999)))))

    assert (found.get("content") or "") == wanted["text"]
    assert (found.get("reasoning_content") or "") == wanted["reasoning_text"]
    assert calls_of(found) == [(one["id"], one["name"], one["arguments"]) for one in wanted["tool_calls"]]
    if wanted["finish_reason"] is not None and not any("finish_reason" in word for word in wanted["soft"]):
        assert found["finish"] == wanted["finish_reason"]
    told = {name: count for name, count in wanted.get("usage", {}).items() if count or name.endswith("n_tokens")}
    if "usage" not in " ".join(wanted["soft"]):
        assert told.items() <= (usage_facts(found["usage"]) or {}).items()


@pytest.mark.parametrize(("recorded", "expected"), pairs(answered=True, whole=True) or NONE)
def test_a_recorded_answer_is_the_same_in_both_forms(recorded: dict[str, Any], expected: dict[str, Any]) -> None:
    events = b"".join(event(one["type"], **one) for one in events_of(recorded["response"]["body"]))

    whole = facts(decoded(asked_for(expected, stream=False), [payload(recorded)]))
    streamed = facts(decoded(asked_for(expected, stream=True), [events]))

    assert {**streamed, "content": streamed.get("content") or None} == {
        **whole,
        "content": whole.get("content") or None,
    }


@pytest.mark.parametrize(("recorded", "expected"), pairs(answered=False) or NONE)
def test_a_recorded_error_keeps_its_message(recorded: dict[str, Any], expected: dict[str, Any]) -> None:
    response = recorded["response"]

    failure = dialect().failure(response["status"], response["headers"], payload(recorded), 0.0)

    assert str(failure) == expected["expected"]["error"]["message"]
