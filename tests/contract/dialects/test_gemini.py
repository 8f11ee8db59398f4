"""Whole exchanges with Gemini: ours, written from its documentation, and the recorded ones where they are at hand.

`gemini.jsonl` has one exchange a line: the client's `body`, the `method` and `native` body that it leads to, the
provider's `answers` and how they are put on the `wire`, and the `facts` that the client sees (or the `failure`);
`usage` is prompt, completion, total, cached and reasoning tokens. The recordings are in `$SIGNALBOX_RECORDINGS` and are
judged by the comparison that lies beside them.
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

from proxy.core.failures import UpstreamFailure
from proxy.core.plan import Target
from tests.unit.dialects.gemini.build import BASE, KEY, call, dialect, read, sse, target

ROOT = Path(__file__).resolve().parents[3]
OURS = [json.loads(line) for line in Path(__file__).with_name("gemini.jsonl").read_text("utf-8").splitlines()]
RECORDINGS = Path(os.environ.get("SIGNALBOX_RECORDINGS") or ROOT.parent / "shared" / "recordings")
FILES = ("gemini-generate", "vertex-generate", "fixtures")
VERTEX = "https://aiplatform.googleapis.com/v1/projects/p/locations/global/publishers/google"


def lines(name: str) -> list[dict[str, Any]]:
    path = RECORDINGS / name
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line] if path.is_file() else []


def recorded() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Exchanges with `generateContent`, each with what is expected of it."""
    expected = {line["id"]: line for name in FILES for line in lines(f"{name}.expected.jsonl")}
    exchanges = [line for name in FILES for line in lines(f"{name}.jsonl") if line["api"].endswith("-generate")]
    return [(line, expected[line["id"]]) for line in exchanges if line["id"] in expected]


PAIRS = recorded()
needs_recordings = pytest.mark.skipif(not PAIRS, reason=f"no recordings in {RECORDINGS}; set SIGNALBOX_RECORDINGS")


@pytest.fixture(scope="module")
def compare() -> Any:
    """The comparison that lies beside the recordings."""
    tools = RECORDINGS.parent / "tools"
    if not (tools / "compare.py").is_file():
        pytest.skip(f"no compare.py in {tools}")
    sys.path.insert(0, str(tools))
    try:
        return importlib.import_module("compare")
    finally:
        sys.path.remove(str(tools))


def aim(exchange: dict[str, Any]) -> Target:
    return target(base_url=VERTEX, vertex=True) if exchange.get("vertex") else target()


def wire(exchange: dict[str, Any]) -> bytes:
    answers = exchange["answers"]
    if exchange["wire"] == "sse":
        return sse(*answers)
    value = answers if exchange["wire"] == "array" else answers[0]
    return json.dumps(value, ensure_ascii=False, indent=2).replace("\n", "\r\n").encode()


def cuts(raw: bytes) -> list[list[bytes]]:
    """The same bytes at once, one by one, in random pieces, and cut within every character."""
    dice = random.Random(len(raw))
    places = {
        "random": sorted(dice.sample(range(1, len(raw)), min(12, len(raw) - 1))),
        "characters": [at for at in range(1, len(raw)) if raw[at] & 0xC0 == 0x80],
        "bytes": list(range(1, len(raw), 1 if len(raw) < 20_000 else 11)),
    }
    joints = ([], *places.values())
    return [[raw[a:b] for a, b in zip([0, *some], [*some, len(raw)], strict=True)] for some in joints]


def facts(raw: bytes) -> dict[str, Any]:
    """What an OpenAI client reads out of an answer, streamed or not."""
    if raw.startswith(b"{"):
        chunks = [json.loads(raw)]
    else:
        assert raw.endswith(b"data: [DONE]\n\n")
        chunks = [json.loads(line.removeprefix(b"data: ")) for line in raw.split(b"\n\n")[:-2]]
    choices: dict[int, list[Any]] = {}
    calls: list[list[Any]] = []
    made: dict[str, Any] = {"reasoning": "", "calls": calls, "usage": None}
    for chunk in chunks:
        made["usage"] = chunk.get("usage") or made["usage"]
        for choice in chunk["choices"]:
            said = choice.get("delta") or choice.get("message") or {}
            found = choices.setdefault(choice["index"], ["", None])
            found[0] += said.get("content") or ""
            found[1] = choice["finish_reason"] or found[1]
            made["reasoning"] += said.get("reasoning_content") or ""
            for place, item in enumerate(said.get("tool_calls") or []):
                _collect(calls, item.get("index", place), item["function"])
    usage = made["usage"]
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    reasoning = usage["completion_tokens_details"]["reasoning_tokens"]
    made["usage"] = [*(usage[f"{name}_tokens"] for name in ("prompt", "completion", "total")), cached, reasoning]
    made["calls"] = [[name, json.loads(arguments)] for name, arguments in calls]
    made["choices"] = [found for _, found in sorted(choices.items())]
    made["text"], made["finish"] = made["choices"][0]
    return made


def _collect(calls: list[list[Any]], place: int, function: dict[str, str]) -> None:
    while len(calls) <= place:
        calls.append(["", ""])
    calls[place][0] += function.get("name") or ""
    calls[place][1] += function.get("arguments") or ""


@pytest.mark.parametrize("exchange", OURS, ids=lambda exchange: exchange["id"])
def test_our_request_is_what_the_documentation_asks_for(exchange: dict[str, Any]) -> None:
    request = dialect().request(call(exchange["body"]), aim(exchange), KEY)

    root = VERTEX if exchange.get("vertex") else f"{BASE}/v1beta"
    assert request.url == f"{root}/models/gemini-flash:{exchange['method']}"
    assert json.loads(request.content) == exchange["native"]


@pytest.mark.parametrize("exchange", [line for line in OURS if "facts" in line], ids=lambda exchange: exchange["id"])
def test_our_answer_has_its_facts_however_it_is_cut(exchange: dict[str, Any]) -> None:
    asked, raw = call(exchange["body"]), wire(exchange)

    answers = {read(dialect().decoder(asked, aim(exchange), {}), pieces) for pieces in cuts(raw)}

    assert len(answers) == 1
    found = facts(answers.pop())
    assert {name: found[name] for name in exchange["facts"]} == exchange["facts"]


@pytest.mark.parametrize("exchange", [line for line in OURS if "failure" in line], ids=lambda exchange: exchange["id"])
def test_our_failure_is_classified(exchange: dict[str, Any]) -> None:
    raw = wire(exchange)
    if exchange["status"] == 200:
        with pytest.raises(UpstreamFailure) as caught:
            read(dialect().decoder(call(exchange["body"]), aim(exchange), {}), [raw])
        failure = caught.value
    else:
        failure = dialect().failure(exchange["status"], {}, raw, 0.0)

    assert {
        "kind": failure.kind.value,
        "message": str(failure),
        "retry_after": failure.retry_after,
    } == exchange["failure"]


@needs_recordings
@pytest.mark.parametrize(
    ("exchange", "expected"),
    [pair for pair in PAIRS if pair[1]["openai_request"]],
    ids=lambda value: value["id"] if "source" in value else "",
)
def test_a_recorded_request_is_met(exchange: dict[str, Any], expected: dict[str, Any], compare: Any) -> None:
    vertex = exchange["provider"] == "vertex"
    aimed = target(base_url=VERTEX, vertex=True) if vertex else target()

    request = dialect().request(call(expected["openai_request"]), aimed, KEY)

    lost, soft = expected.get("not_expressible") or [], expected.get("soft_request") or []
    got, wanted = json.loads(request.content), exchange["request"]["body"]
    found = compare.native_diff(exchange["api"], wanted, got, lost, soft, exchange["path"], request.url)
    assert [difference for difference in found if difference[0] == "hard"] == []


@needs_recordings
@pytest.mark.parametrize(
    ("exchange", "expected"),
    [pair for pair in PAIRS if pair[0]["response"]["status"] < 400 and "unusable" not in pair[1]["expected"]],
    ids=lambda value: value["id"] if "source" in value else "",
)
def test_a_recorded_answer_has_its_facts(exchange: dict[str, Any], expected: dict[str, Any], compare: Any) -> None:
    stream = {"stream": True, "stream_options": {"include_usage": True}} if exchange["stream"] else {}
    asked = call(expected["openai_request"] or stream)
    response = exchange["response"]
    text = response["text"] if "text" in response else json.dumps(response["body"], ensure_ascii=False)
    facts = expected["expected"]
    unfinished = exchange["stream"] and facts.get("finish_reason", 0) is None and facts.get("native_finish", 0) is None
    if unfinished:
        with pytest.raises(UpstreamFailure):  # made by hand: a stream that just ends, for which no finish is made up
            read(dialect().decoder(asked, target(), {}), [text.encode()])
        return

    answers = {read(dialect().decoder(asked, target(), {}), pieces) for pieces in cuts(text.encode())}

    assert len(answers) == 1
    found = compare.answer_diff(facts, compare.openai_facts(answers.pop().decode()))
    assert [difference for difference in found if difference[0] == "hard"] == []


@needs_recordings
def test_a_recorded_error_keeps_its_message() -> None:
    failed = [
        (exchange, expected["expected"]["error"]) for exchange, expected in PAIRS if "error" in expected["expected"]
    ]

    for exchange, error in failed:
        raw = json.dumps(exchange["response"].get("body") or exchange["response"].get("text")).encode()
        failure = dialect().failure(error["status"], {}, raw, 0.0)
        assert (str(failure), failure.status) == (error["message"], error["status"])
    assert failed
