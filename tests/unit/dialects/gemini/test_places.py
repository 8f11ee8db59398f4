"""What Gemini signed goes back in its place, whole, or unsigned."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.recall import Recall
from proxy.dialects.gemini.contents import SKIP_SIGNATURE
from tests.support.fakes import FakeClock
from tests.unit.dialects.gemini.build import KEY, call, chunk, deltas, dialect, message, native, read, sse, target
from tests.unit.dialects.gemini.build import decoder as decoder_of

USER = {"role": "user", "content": "Hi"}
IMAGE = {"inlineData": {"mimeType": "image/png", "data": "aWJt"}}
CODE = {"executableCode": {"language": "PYTHON", "code": "1"}}
RAN = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}


def signed(part: dict[str, Any], signature: str = "c2ln") -> dict[str, Any]:
    return {**part, "thoughtSignature": signature}


def called(name: str, **arguments: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, "args": arguments, "id": f"id_{name}"}}


A, B = {"text": "A"}, {"text": "B"}
ANSWERS: dict[str, list[dict[str, Any]]] = {
    "a signed image": [signed(IMAGE)],
    "text before signed images": [A, signed(IMAGE, "s1"), signed(IMAGE, "s2")],
    "an image before signed text": [IMAGE, signed(A)],
    "an image between signed texts": [signed(A, "s1"), signed(IMAGE, "s2"), signed(B, "s3")],
    "a signature without text at the end": [A, signed({"text": ""})],
    "two signed texts": [signed(A, "s1"), signed(B, "s2")],
    "a signed call after text": [A, signed(called("f", x=1)), called("g")],
    "text after a signed call": [signed(called("f")), A],
    "text between calls": [signed(called("f"), "s1"), A, signed(called("g"), "s2")],
    "code that ran": [CODE, RAN, A],
    "code after text": [A, signed(CODE), RAN, B],
    "a signed thought": [signed({"text": "hm", "thought": True}), A],
    "sound": [A, {"inlineData": {"mimeType": "audio/pcm", "data": "aWJt"}}],
}
each_answer = pytest.mark.parametrize("parts", ANSWERS.values(), ids=ANSWERS)


def added_up(found: list[dict[str, Any]]) -> dict[str, Any]:
    """A message out of deltas, by the rule that SDKs have: texts are joined, lists are added by their index."""
    whole: dict[str, Any] = {}
    for delta in found:
        for name, value in delta.items():
            if isinstance(value, str) and name != "role":
                whole[name] = whole.get(name, "") + value
            elif isinstance(value, list) and name == "tool_calls":
                for piece in value:
                    calls = whole.setdefault(name, [])
                    if piece["index"] == len(calls):
                        calls.append({key: item for key, item in piece.items() if key != "index"})
                    else:
                        calls[piece["index"]]["function"]["arguments"] += piece["function"]["arguments"]
            elif isinstance(value, list):
                whole.setdefault(name, []).extend(value)
            else:
                assert name not in whole or name == "role"
                whole[name] = value
    return whole


def answered(parts: list[dict[str, Any]], *, stream: bool, recall: Recall | None = None) -> dict[str, Any]:
    """The message as the client has it."""
    if not stream:
        return message(chunk(*parts, finish="STOP"), recall=recall)
    chunks = [chunk(part) for part in parts] + [chunk(finish="STOP")]
    return added_up(deltas(read(decoder_of(recall=recall), [sse(*chunks)])))


def sent_back(replied: dict[str, Any], recall: Recall | None = None) -> list[dict[str, Any]]:
    body = {"messages": [USER, {"role": "assistant", **replied}, USER]}
    request = dialect(recall).request(call(body), target(), KEY)
    found: list[dict[str, Any]] = json.loads(request.content)["contents"][1]["parts"]
    return found


@each_answer
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("nulls", [True, False])
def test_parts_go_back_in_their_places(parts: list[dict[str, Any]], stream: bool, nulls: bool) -> None:
    replied = answered(parts, stream=stream)
    replied |= {"refusal": None, "audio": None, "annotations": None, "function_call": None} if nulls else {}

    assert sent_back(replied) == parts


def test_an_edited_text_goes_back_unsigned() -> None:
    replied = {**answered([signed(A)], stream=False), "content": "Longer than it was"}

    assert sent_back(replied) == [{"text": "Longer than it was"}]


@pytest.mark.parametrize("change", [{"content": "Longer than it was"}, {"images": []}, {"google_parts": [CODE]}])
def test_an_edited_message_goes_back_unsigned(change: dict[str, Any]) -> None:
    replied = {**answered(ANSWERS["an image between signed texts"], stream=False), **change}

    assert not any("thoughtSignature" in part for part in sent_back(replied))


def test_an_edited_message_has_the_first_call_unchecked() -> None:
    replied = {**answered(ANSWERS["text between calls"], stream=False), "content": "Longer than it was"}

    found = sent_back(replied)

    assert [part.get("thoughtSignature") for part in found] == [None, SKIP_SIGNATURE, None]


@pytest.mark.parametrize("notes", ["x", [], [7], [{}], [{"text": "1"}], [{"image": 0}], [{"text": 1}, {"image": 3}]])
def test_broken_notes_of_a_client_leave_the_message(notes: Any) -> None:
    replied = {"content": "A", "extra_content": {"google": {"parts": notes, "thought_signature": "c2ln"}}}

    assert sent_back(replied) == [A]


@pytest.mark.parametrize("stream", [True, False])
def test_signatures_are_recalled_for_a_client_that_forgets_them(stream: bool) -> None:
    recall = Recall(FakeClock())
    replied = answered([signed(called("f"), "s1"), called("g")], stream=stream, recall=recall)
    calls = [{name: value for name, value in made.items() if name != "extra_content"} for made in replied["tool_calls"]]

    found = sent_back({"content": None, "tool_calls": calls}, recall)

    assert [part.get("thoughtSignature") for part in found] == ["s1", None]


def test_an_answer_without_signatures_has_no_notes() -> None:
    assert "extra_content" not in message(chunk(called("f"), A, called("g"), B, finish="STOP"))


def test_signatures_stand_where_google_has_them() -> None:
    replied = message(chunk(signed(A, "s1"), signed(IMAGE, "s2"), signed(called("f"), "s3"), finish="STOP"))

    assert replied["extra_content"]["google"]["thought_signature"] == "s1"
    assert replied["images"][0]["extra_content"] == {"google": {"thought_signature": "s2"}}
    assert replied["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "s3"}}


def test_an_image_of_another_provider_is_sent_as_an_image() -> None:
    given = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aWJt"}}]

    assert native({"messages": [USER, {"role": "assistant", "content": "A", "images": given}, USER]})["contents"][1][
        "parts"
    ] == [A, IMAGE]
