"""Two streams made one: what is kept of the first, and what becomes of the second."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.record import Continued
from proxy.core.usage import Usage
from proxy.upstream import joint
from proxy.upstream.joint import Joint, SentText

WHO = Continued("b", "m", 5)
DONE = b"data: [DONE]\n\n"
HEAD = {"id": "one", "created": 1, "model": "first"}


def event(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def chunk(delta: object = None, *, finish: str | None = None, **fields: Any) -> bytes:
    choice = {"index": 0, "delta": {} if delta is None else delta, "finish_reason": finish}
    return event({**HEAD, "choices": [choice], **fields})


def text(content: str, **fields: Any) -> bytes:
    return chunk({"content": content}, **fields)


def read(*pieces: bytes) -> SentText:
    said = SentText()
    for piece in pieces:
        said.read(piece)
    return said


def rewritten(*pieces: bytes, after: str = "Hello", used: Usage | None = None) -> list[Any]:
    """The values of the rest's events, as the client gets them."""
    made = Joint(HEAD, after, used or Usage(), WHO)
    out = b"".join([made.feed(piece) for piece in pieces]) + made.end()
    return [
        json.loads(data) if data != "[DONE]" else data for data in out.decode().replace("data: ", "").split("\n\n")[:-1]
    ]


def contents(values: list[Any]) -> str:
    return "".join(c["delta"].get("content") or "" for v in values if v != "[DONE]" for c in v["choices"])


# What is kept of the first


def test_text_is_kept_with_what_all_chunks_have_in_common() -> None:
    nameless = event({"id": "", "choices": [], "prompt_filter_results": []})

    said = read(nameless, chunk({"role": "assistant", "content": ""}), b": alive\n\n" + text("Hel") + text("lo"))

    assert (said.plain, said.text, said.head) == (True, "Hello", HEAD)


def test_line_endings_and_a_missing_last_empty_line() -> None:
    said = read(text("a").replace(b"\n", b"\r\n"), text("b").replace(b"\n", b"\r"), text("c").rstrip())

    assert said.text == "abc"


@pytest.mark.parametrize(
    "more",
    [
        chunk({"reasoning_content": "hm"}),
        chunk({"tool_calls": [{"index": 0}]}),
        chunk({"function_call": {"name": "f"}}),
        chunk({"refusal": "no"}),
        chunk({"audio": {"data": "x"}}),
        chunk({"content": ["x"]}),
        chunk(["x"]),
        chunk(finish="stop"),
        event({"choices": [{"index": 1, "delta": {"content": "x"}}]}),
        event({"choices": [{"index": 0, "delta": {"content": "x"}, "logprobs": {"content": []}}]}),
        event({"choices": ["x"]}),
        event({"error": {"message": "x"}}),
        b"data: []\n\n",
        DONE,
    ],
)
def test_what_is_not_text_ends_the_keeping(more: bytes) -> None:
    said = read(text("Hello"), more, text("again"))

    assert (said.plain, said.text) == (False, "")


@pytest.mark.parametrize(
    "more",
    [
        chunk({"role": "assistant", "content": None, "refusal": None, "tool_calls": []}),
        event({"choices": None}),
        event({"choices": [], "usage": {"prompt_tokens": 1}}),
        event({"choices": [{"delta": None}], "error": None}),
        b"data:\n\n",
    ],
)
def test_what_says_nothing_is_no_reason_to_stop(more: bytes) -> None:
    assert read(text("Hello"), more, text("!")).text == "Hello!"


def test_only_so_much_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joint, "LONGEST", 8)

    assert read(text("1234"), text("5678")).plain
    assert not read(text("1234"), text("56789")).plain


def test_split_characters_are_joined_and_half_ones_replaced() -> None:
    assert read(text("\ud83d"), text("\ude00!")).text == "😀!"
    assert read(text("a\ud83d")).text == "a�"


# What becomes of the second


def test_a_continuation_keeps_the_id_and_repeats_no_role() -> None:
    other = {"id": "two", "created": 2, "model": "second", "system_fingerprint": "fp"}

    values = rewritten(
        chunk({"role": "assistant", "content": ""}, **other),
        chunk({"role": "assistant", "content": ", "}, **other) + text("world", **other),
        chunk(finish="stop", **other) + DONE,
    )

    *chunks, notice, done = values
    assert [{name: value[name] for name in HEAD} for value in values[:-1]] == [HEAD] * 4
    assert [value["choices"][0]["delta"] for value in chunks] == [{"content": ", "}, {"content": "world"}, {}]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert chunks[0]["system_fingerprint"] == "fp"
    assert notice == {
        **HEAD,
        "object": "chat.completion.chunk",
        "choices": [],
        "router": {"continued": {"provider": "b", "model": "m", "after_characters": 5}},
    }
    assert done == "[DONE]"


def test_without_a_done_none_is_made_up() -> None:
    values = rewritten(text(" world"), chunk(finish="stop"))

    assert "router" in values[-1]


@pytest.mark.parametrize("end", [DONE, DONE.rstrip(), b"data: [DONE]\r\n\r\n"])
def test_the_last_event_keeps_its_bytes(end: bytes) -> None:
    made = Joint(HEAD, "", Usage(), WHO)

    assert made.feed(end).endswith(end)
    assert made.end() == b""


def test_an_error_keeps_its_bytes_and_nothing_follows_it() -> None:
    made = Joint(HEAD, "", Usage(), WHO)
    error = b'data: {"error":   {"message": "x"}}\n\n'

    assert made.feed(error) == error
    assert made.end() == b""


@pytest.mark.parametrize("event", [b": alive\n\n", b"data: \n\n", b"data: nonsense\n\n"])
def test_what_is_no_chunk_keeps_its_bytes(event: bytes) -> None:
    assert Joint(HEAD, "", Usage(), WHO).feed(event) == event


@pytest.mark.parametrize("odd", [{"choices": None}, {"choices": ["x"]}, {"choices": [{"index": 0, "delta": "x"}]}, {}])
def test_what_is_odd_is_given_on(odd: dict[str, Any]) -> None:
    values = rewritten(event(odd))

    assert values[0] == {**odd, **HEAD}


@pytest.mark.parametrize(
    ("before", "rest", "whole"),
    [
        ("Hello", [" world"], "Hello world"),
        ("Hello ", [" world"], "Hello world"),
        ("Hello ", ["world"], "Hello world"),
        ("Hello ", [" ", "world"], "Hello world"),
        ("Hello ", ["  world"], "Hello  world"),
        ("Hello ", ["\nworld"], "Hello \nworld"),
        ("One.\n\n", ["\n\nTwo."], "One.\n\nTwo."),
        ("One.\n\n", ["\n", "\n", "Two."], "One.\n\nTwo."),
        ("One.\n\n", ["\nTwo."], "One.\n\nTwo."),
        ("One.\n", ["\n\nTwo."], "One.\n\nTwo."),
        ("One. \n", ["\nTwo."], "One. \nTwo."),
        ("One.\n", ["\n  - Two"], "One.\n  - Two"),
        (" ", [" Hello"], " Hello"),
        ("a b ", ["b "], "a b b "),
    ],
)
def test_white_space_that_the_client_has_does_not_come_twice(before: str, rest: list[str], whole: str) -> None:
    values = rewritten(*[text(piece) for piece in rest], chunk(finish="stop"), after=before)

    assert before + contents(values) == whole


def test_a_piece_of_which_nothing_is_left_is_not_sent() -> None:
    values = rewritten(text("\n"), text("\nTwo."), chunk(finish="stop"), after="One.\n\n")

    assert [value["choices"][0]["delta"] for value in values[:2]] == [{"content": "Two."}, {}]


def test_a_finish_is_sent_whatever_is_left_beside_it() -> None:
    values = rewritten(chunk({"role": "assistant", "content": " "}, finish="stop"), after="One. ")

    assert values[0]["choices"] == [{"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}]


def test_usage_is_told_wherever_it_comes() -> None:
    values = rewritten(chunk({"role": "assistant"}, usage={"prompt_tokens": 1}), used=Usage(10, 2))

    assert (values[0]["usage"]["prompt_tokens"], values[0]["usage"]["completion_tokens"]) == (11, 2)


def test_usage_is_of_both_parts() -> None:
    details = {"cached_tokens": 1}
    usage = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15, "prompt_tokens_details": details}

    values = rewritten(
        text(" world", usage=None), event({"choices": [], "usage": usage}), DONE, used=Usage(10, 2, source="estimated")
    )

    assert values[0]["usage"] is None
    assert values[1]["usage"] == {
        "prompt_tokens": 22,
        "completion_tokens": 5,
        "total_tokens": 27,
        "prompt_tokens_details": details,
    }
    assert "router" in values[2]
