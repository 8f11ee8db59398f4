"""Feedback over real sockets: what is learned changes the scores of prompts, and one call goes back."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from proxy.routing.explore import draw_of
from tests.support.boxes import ADMIN, KEYS, Box, boxed
from tests.support.natives import NativeUpstream, anthropic_message, anthropic_stream, response
from tests.support.upstreams import DONE, Upstream, chunk, completion, plain, running, stream, words
from tests.support.waiting import until

TOPICS = {
    "poetry": "Which verse follows the {} rhyme in this ballad?",
    "gears": "Which cog turns the {} axle of this crane?",
}
NUMBERS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
ASKED = ("red", "blue", "green", "old", "new", "long", "short", "wide", "dark", "light", "thin", "round")


def configuration(url: str, folder: Path, *, enabled: bool = True) -> dict[str, Any]:
    return {
        "auth": {"admin_token": "admin"},
        "data_dir": str(folder / "data"),
        "providers": {"up": {"base_url": url, "keys": [{"id": "one", "value": "sk-one-00000000"}]}},
        "models": [
            {"id": "up/weak", "tier": "low", "price": {"input": 0.1, "output": 0.1}},
            {"id": "up/strong", "tier": "high", "price": {"input": 10, "output": 10}},
        ],
        "routing": {"classifier": {"kind": "model"}},
        "learning": {"enabled": enabled, "min_labels": 60},
    }


def routed(box: Box, text: str) -> dict[str, Any]:
    body = {"model": "auto", "messages": [{"role": "user", "content": text}]}
    answer = box.http.post(f"{box.url}/v1/route", json=body)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def judge(box: Box, **body: Any) -> Any:
    return box.http.post(f"{box.url}/v1/feedback", json=body)


def predicted(box: Box) -> tuple[float, float]:
    """The predicted success of the weak model for two prompts that were never judged."""
    records = [routed(box, TOPICS[topic].format("very last")) for topic in ("poetry", "gears")]
    easy, hard = (
        next(each["predicted_success"] for each in record["candidates"] if each["model"] == "weak")
        for record in records
    )
    return easy, hard


def learning(box: Box, path: str = "") -> dict[str, Any]:
    method = "POST" if path else "GET"
    answer = box.http.request(method, f"{box.url}/admin/learning{path}", headers=ADMIN)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def test_predictions_follow_labels_and_return_after_a_reset(tmp_path: Path) -> None:
    with running(Upstream()) as upstream, boxed(tmp_path, configuration(upstream.url, tmp_path)) as box:
        before = predicted(box)
        for number in NUMBERS:
            for word in ASKED:
                for topic, weak in (("poetry", 1), ("gears", 0)):
                    id = routed(box, TOPICS[topic].format(f"{number} {word}"))["id"]
                    assert judge(box, id=id, score=weak, model="up/weak").status_code == 200
                    assert judge(box, id=id, thumbs="up", model="up/strong").status_code == 200
        until(lambda: learning(box)["version"] > 0)

        record = routed(box, TOPICS["gears"].format("very last"))
        after = predicted(box)
        reset = learning(box, "/reset")

        assert after[0] - after[1] > before[0] - before[1] + 0.1
        assert record["ranking"]["predictor"].startswith("learned ")
        assert "learned from feedback" in [feature["name"] for feature in record["profile"]["features"]]
        assert reset["version"] == 0
        assert predicted(box) == before


@pytest.mark.parametrize("enabled", [True, False])
def test_the_answer_to_a_call_can_be_judged(tmp_path: Path, *, enabled: bool) -> None:
    with (
        running(Upstream()) as upstream,
        boxed(tmp_path, configuration(upstream.url, tmp_path, enabled=enabled)) as box,
    ):
        answer = box.ask("auto")
        id = answer.headers["x-router-id"]

        given = judge(box, id=id, score=0.5)

        assert given.status_code == 200
        assert given.json() == {"object": "feedback", "id": id, "model": "up/weak", "score": 0.5}
        assert learning(box)["labels"] == {"up/weak": 1}


@pytest.mark.parametrize("store", ["none", "sqlite"])
def test_answers_of_models_that_the_client_named_are_learned_from_at_once(tmp_path: Path, store: str) -> None:
    with (
        running(Upstream()) as upstream,
        boxed(tmp_path, configuration(upstream.url, tmp_path) | {"store": store}) as box,
    ):
        before = predicted(box)
        for number in range(40):
            for topic, weak in (("poetry", 1), ("gears", 0)):
                text = TOPICS[topic].format(f"{NUMBERS[number % 10]} {ASKED[number % 12]}")
                for model, score in (("up/weak", weak), ("up/strong", 1)):
                    answer = box.ask(model, messages=[{"role": "user", "content": text}])
                    assert judge(box, id=answer.headers["x-router-id"], score=score).status_code == 200
        state = learning(box, "/update")
        after = predicted(box)

    assert state["version"] > 0
    assert state["labels"] == {"up/strong": 80, "up/weak": 80}
    assert after[0] - after[1] > before[0] - before[1] + 0.1


def test_answers_are_rated_in_records(tmp_path: Path) -> None:
    config = configuration("", tmp_path)
    with running(Upstream()) as upstream:
        config["providers"]["up"]["base_url"] = upstream.url
        config["learning"]["signals"], config["store"] = True, "sqlite"
        refusal = json.dumps(completion("I'm sorry, but I can't help with that.")).encode()
        upstream.script("weak", plain(refusal), stream([*words("a"), chunk(finish="stop"), DONE]))
        with boxed(tmp_path, config) as box:
            refused = box.ask("auto", messages=[{"role": "user", "content": "one"}])
            streamed = box.ask("auto", messages=[{"role": "user", "content": "two"}], stream=True)
            named = box.ask("up/weak", stream=True)

            records = {each["id"]: each for each in until(lambda: requests(box, 3))}

    found = [records[answer.headers["x-router-id"]] for answer in (refused, streamed, named)]
    assert streamed.content == b"".join([*words("a"), chunk(finish="stop"), DONE])
    assert [each["rating"] for each in found] == [0.0, 1.0, None]
    assert [each["rating_reasons"] for each in found] == [["refusal"], [], []]


def test_native_answers_are_rated(tmp_path: Path, module_natives: NativeUpstream) -> None:
    upstream, refusal = module_natives, "I'm sorry, but I can't help with that."
    upstream.clear()
    config = configuration(upstream.url, tmp_path) | {"store": "sqlite"}
    config["learning"]["signals"] = True
    config["providers"] = {
        "a": {"dialect": "anthropic", "base_url": upstream.url, "keys": KEYS[:1]},
        "r": {"dialect": "openai", "base_url": f"{upstream.url}/v1", "responses": "native", "keys": KEYS[:1]},
    }
    config["models"] = [{"id": "a/claude", "tier": "low"}, {"id": "r/gpt", "tier": "high"}]
    said = anthropic_stream({"type": "text", "text": refusal})
    upstream.script(
        "claude", stream(said), plain(json.dumps(anthropic_message({"type": "text", "text": "Hi"})).encode())
    )
    upstream.script("gpt", plain(json.dumps(response(refusal)).encode()))
    with boxed(tmp_path, config) as box:
        messages = {"model": "auto", "max_tokens": 50, "messages": [{"role": "user", "content": "one"}]}
        headers = {"anthropic-version": "2023-06-01", "x-router-providers": "a"}
        answers = [
            box.http.post(f"{box.url}/v1/messages", json={**messages, "stream": True}, headers=headers),
            box.http.post(f"{box.url}/v1/messages", json=messages, headers=headers),
            box.http.post(
                f"{box.url}/v1/responses", json={"model": "auto", "input": "one", "router": {"providers": ["r"]}}
            ),
        ]
        records = {each["id"]: each for each in until(lambda: requests(box, 3))}

    assert answers[0].content == b"".join(said)
    found = [records[answer.headers["x-router-id"]] for answer in answers]
    assert [(each["rating"], each["rating_reasons"]) for each in found] == [
        (0.0, ["refusal"]),
        (1.0, []),
        (0.0, ["refusal"]),
    ]


def requests(box: Box, count: int) -> list[dict[str, Any]] | None:
    """All records, when there are so many."""
    listed = box.admin("requests")
    return listed if len(listed) == count else None


def test_verdicts_of_one_replica_are_labels_at_the_other(tmp_path: Path, postgres_url: str) -> None:
    with running(Upstream()) as upstream, ExitStack() as stack:
        config = configuration(upstream.url, tmp_path) | {"store": postgres_url}
        config["models"].append({"id": "up/judge", "tier": "high", "price": {"input": 50, "output": 50}})
        config["learning"] |= {"judge": {"model": "up/judge", "share": 1}, "shadow": {"share": 0.5}}
        upstream.script("judge", plain(json.dumps(completion('{"score": 5}')).encode()))
        boxes = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            own = config | {"data_dir": str(tmp_path / name / "data")}
            boxes.append(stack.enter_context(boxed(tmp_path / name, own)))

        calls = [{"messages": [{"role": "user", "content": f"call {number}"}]} for number in range(12)]
        ids = [boxes[0].ask("auto", router={"exclude": ["up/judge"]}, **call).headers["x-router-id"] for call in calls]
        labels = until(lambda: judged(boxes[1], "up/weak", 12))
        expected = sum(draw_of(f"shadow {id}") < 0.5 for id in ids)
        callers = [each["key_id"] for each in until(lambda: requests(boxes[1], 24 + 2 * expected))]
        shown = boxes[1].http.get(f"{boxes[1].url}/admin/requests/{ids[0]}", headers=ADMIN).json()["judgements"]

    assert labels.get("up/strong", 0) == upstream.models.count("strong") == expected
    assert upstream.models.count("judge") == 12 + expected
    assert ("judge", "up/weak", 0.5) in [(each["source"], each["model"], each["score"]) for each in shown]
    assert [callers.count(each) for each in (None, "judge", "shadow")] == [12, 12 + expected, expected]


def judged(box: Box, model: str, count: int) -> dict[str, int] | None:
    """The labels by model, when there are enough of one of them."""
    labels: dict[str, int] = learning(box)["labels"]
    return labels if labels.get(model, 0) >= count else None


def test_an_unknown_id_and_a_comment_are_rejected(tmp_path: Path) -> None:
    with running(Upstream()) as upstream, boxed(tmp_path, configuration(upstream.url, tmp_path)) as box:
        unknown = judge(box, id="req_nothing", score=1)
        comment = judge(box, id="req_nothing", score=1, comment="thanks")

    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "not_found")
    assert (comment.status_code, comment.json()["error"]["param"]) == (400, "comment")
