"""Parts of a candidate, and why it ended."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.failures import UpstreamFailure
from tests.unit.dialects.gemini.build import chunk, decoder, deltas, events, message, read, sse

IMAGE = {"inlineData": {"mimeType": "image/png", "data": "aWJt"}}
CODE = {"executableCode": {"language": "PYTHON", "code": "print(1)"}}
RAN = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}, "thoughtSignature": "c2ln"}


def choice(value: dict[str, Any], **body: Any) -> Any:
    raw = json.dumps(value).encode()
    return json.loads(read(decoder(stream=False, **body), [raw]))["choices"][0]


def test_text_is_joined_and_thoughts_stand_apart() -> None:
    made = message(chunk({"text": "Hm.", "thought": True}, {"text": "A"}, {"text": ""}, {"text": "B"}, finish="STOP"))

    assert (made["content"], made["reasoning_content"]) == ("AB", "Hm.")


@pytest.mark.parametrize(
    ("native", "word"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("BLOCKLIST", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("SPII", "content_filter"),
        ("IMAGE_SAFETY", "content_filter"),
        ("MODEL_ARMOR", "content_filter"),
        ("OTHER", "stop"),
        ("LANGUAGE", "stop"),
        ("MALFORMED_FUNCTION_CALL", "stop"),
        ("NEVER_SEEN_BEFORE", "stop"),
    ],
)
def test_every_finish_has_its_word(native: str, word: str) -> None:
    assert choice(chunk({"text": "A"}, finish=native))["finish_reason"] == word


@pytest.mark.parametrize(("native", "word"), [("STOP", "tool_calls"), ("MAX_TOKENS", "length")])
def test_a_call_makes_a_stop_a_tool_call(native: str, word: str) -> None:
    assert choice(chunk({"functionCall": {"name": "f"}}, finish=native))["finish_reason"] == word


def test_an_image_is_given_out() -> None:
    made = message(chunk({"text": "See:"}, IMAGE, finish="STOP"))

    url = {"url": "data:image/png;base64,aWJt"}
    assert made["images"] == [{"type": "image_url", "index": 0, "image_url": url}]


def test_what_openai_has_no_word_for_is_kept_apart_from_the_text() -> None:
    sound = {"inlineData": {"mimeType": "audio/pcm", "data": "aWJt"}}

    made = message(chunk(CODE, RAN, sound, {"text": "1"}, {}, finish="STOP"))

    assert made["content"] == "1"
    assert made["google_parts"] == [{**part, "index": n} for n, part in enumerate((CODE, RAN, sound))]
    assert "tool_calls" not in made


def test_a_signature_of_text_is_given_out() -> None:
    made = message(chunk({"text": "A", "thoughtSignature": "c2ln"}, finish="STOP"))

    assert made["extra_content"]["google"]["thought_signature"] == "c2ln"


def test_an_image_that_was_only_thought_of_is_no_answer() -> None:
    made = message(chunk({**IMAGE, "thought": True}, {"text": "A"}, finish="STOP"))

    assert "images" not in made


def test_citations_come_as_annotations_with_the_end_of_a_stream() -> None:
    grounding = {
        "groundingChunks": [{"web": {"uri": "https://a", "title": "A"}}],
        "groundingSupports": [{"segment": {"startIndex": 0, "endIndex": 1}, "groundingChunkIndices": [0]}],
    }
    last = chunk({"text": "B"}, finish="STOP")
    last["candidates"][0]["groundingMetadata"] = grounding

    found = deltas(read(decoder(), [sse(chunk({"text": "A"}), last)]))

    assert [delta["annotations"][0]["url_citation"]["url"] for delta in found if "annotations" in delta] == [
        "https://a"
    ]


def test_log_probabilities_are_given_out() -> None:
    token = {"token": "ü", "tokenId": 3, "logProbability": -0.5}
    value = chunk({"text": "ü"}, finish="STOP")
    value["candidates"][0]["logprobsResult"] = {
        "chosenCandidates": [token, {"token": "x"}],
        "topCandidates": [{"candidates": [token]}],
    }

    made = choice(value)["logprobs"]
    streamed = [item for event in events(read(decoder(), [sse(value)]))[:-1] for item in event["choices"]]

    plain = {"token": "ü", "logprob": -0.5, "bytes": [195, 188]}
    assert made["content"][0] == {**plain, "top_logprobs": [plain]}
    assert made["content"][1] == {"token": "x", "logprob": -9999.0, "bytes": [120], "top_logprobs": []}
    assert [item["logprobs"] for item in streamed if item["logprobs"]] == [made]


@pytest.mark.parametrize(
    "candidate",
    [
        {"content": None},
        {"content": {"parts": None}},
        {"content": {"parts": [None, 3, {"text": 3}, {"functionCall": 3}, {"inlineData": {"mimeType": 1}}]}},
        {"content": {"parts": [{"functionCall": {"name": 3}}]}, "logprobsResult": {"chosenCandidates": [3]}},
        {"citationMetadata": {"citations": 3}, "groundingMetadata": 3, "tokenCount": "x", "unknown": {}},
    ],
)
def test_odd_members_do_no_harm(candidate: dict[str, Any]) -> None:
    assert choice({"candidates": [{**candidate, "finishReason": "STOP"}]})["finish_reason"] == "stop"


def test_sources_of_citations_in_the_older_form_are_cited() -> None:
    value = chunk({"text": "Rhein"}, finish="STOP")
    value["candidates"][0]["citationMetadata"] = {
        "citationSources": [{"startIndex": 0, "endIndex": 5, "uri": "https://a"}]
    }

    assert [each["url_citation"]["url"] for each in choice(value)["message"]["annotations"]] == ["https://a"]


def test_arguments_too_deep_to_be_written_are_a_failure() -> None:
    steps = {"jsonPath": "$" + ".a" * 1500, "stringValue": "x"}

    with pytest.raises(UpstreamFailure, match="nested too deeply"):
        read(decoder(), [sse(chunk({"functionCall": {"name": "f", "partialArgs": [steps]}}, finish="STOP"))])
