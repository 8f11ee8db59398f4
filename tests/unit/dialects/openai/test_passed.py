"""Answers that are passed through: as they came, if they are answers at all."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.usage import Usage
from proxy.dialects.openai import passed
from proxy.dialects.openai.passed import PassedBytes, PassedEvents, PassedJson, PassedText

VECTORS = b' {"object":"list","data":[{"embedding":[0.10, -1e-3]}],\n"usage":{"prompt_tokens":4,"total_tokens":4}} '
ERROR = {"error": {"message": "slow down", "code": 429}}


def event(value: object, name: str | None = None) -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(value)}\n\n".encode()


PARTIAL = event({"type": "image_generation.partial_image", "b64_json": "AAAA"}, "image_generation.partial_image")
LAST = event({"type": "image_generation.completed", "usage": {"prompt_tokens": 0, "total_tokens": 3}})


def fed(decoder: PassedEvents | PassedBytes, pieces: Iterable[bytes]) -> bytes:
    return b"".join(decoder.feed(piece) for piece in pieces)


def failure(decoder: PassedJson | PassedEvents | PassedBytes, data: bytes) -> UpstreamFailure:
    with pytest.raises(UpstreamFailure) as failed:
        decoder.feed(data) + decoder.finish()
    return failed.value


# JSON


def test_a_json_answer_comes_out_to_the_byte_at_its_end() -> None:
    decoder = PassedJson("embeddings")

    held = [decoder.feed(VECTORS[:20]), decoder.feed(VECTORS[20:])]
    assert (decoder.committed, decoder.complete, decoder.closed) == (False, False, False)
    out = decoder.finish()

    assert (held, out) == ([b"", b""], VECTORS)
    assert (decoder.committed, decoder.complete, decoder.closed) == (True, True, True)
    assert decoder.usage == Usage(4)


@pytest.mark.parametrize(
    "body", [b"", b" ", VECTORS[:-9], b"<html></html>", b"\xff", b"[" * 100_000, b"null", b"[]", b"{}", b'"text"', b"7"]
)
def test_a_body_that_is_no_answer_is_malformed(body: bytes) -> None:
    decoder = PassedJson("embeddings")

    assert failure(decoder, body).kind == FailureKind.MALFORMED
    assert not decoder.committed


def test_an_error_with_status_200_is_that_error() -> None:
    failed = failure(PassedJson("embeddings"), json.dumps(ERROR).encode())

    assert (failed.kind, str(failed)) == (FailureKind.RATE_LIMITED, "slow down")


def test_an_answer_whose_error_is_null_is_an_answer() -> None:
    decoder = PassedJson("completions")
    body = b'{"id":"cmpl-1","choices":[{"text":""}],"error":null}'
    decoder.feed(body)

    assert decoder.finish() == body
    assert decoder.usage is None


CHAT = {"object": "chat.completion", "choices": [{"message": {"content": "Hi"}}]}
VECTOR = {"object": "embedding", "index": 0, "embedding": [0.1]}
SHAPES = [
    ("embeddings", {"data": [VECTOR]}, True),
    ("embeddings", {"data": [{"embedding": "AAAA"}]}, True),
    ("embeddings", {"data": [{"embedding": [[0.1], [0.2]]}]}, True),
    ("embeddings", {"data": [{"embedding": {"float": [0.1]}}]}, True),
    ("embeddings", {"data": [{"embedding": [None]}]}, False),
    ("embeddings", {"data": [{"embedding": ["0.1"]}]}, False),
    ("embeddings", {"data": [{"embedding": [True]}]}, False),
    ("embeddings", {"data": [{"embedding": [[]]}]}, False),
    ("embeddings", {"data": [{"embedding": [{"a": 1}]}]}, False),
    ("embeddings", {"data": [{"embedding": {"error": "busy"}}]}, False),
    ("embeddings", {"data": []}, False),
    ("embeddings", {"data": [{"embedding": []}]}, False),
    ("embeddings", {"data": [{"embedding": None}]}, False),
    ("embeddings", {"data": [VECTOR, {"object": "embedding"}]}, False),
    ("embeddings", {"data": [VECTOR, 3]}, False),
    ("embeddings", {"data": {"0": VECTOR}}, False),
    ("embeddings", {"detail": "Not Found"}, False),
    ("embeddings", {"data": [{"url": "https://x.test/a.png"}]}, False),
    ("completions", {"choices": [{"text": "Hi", "index": 0}]}, True),
    ("completions", {"choices": [{"text": None, "finish_reason": "stop"}]}, True),
    ("completions", {"choices": []}, False),
    ("completions", {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}, False),
    ("completions", {"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]}, False),
    ("moderations", {"results": [{"flagged": False}]}, True),
    ("moderations", {"results": [{"categories": {"violence": False}}]}, True),
    ("moderations", {"results": []}, False),
    ("moderations", {"results": [{}]}, False),
    ("images", {"data": [{"b64_json": "AAAA"}]}, True),
    ("images", {"data": [{"url": "https://x.test/a.png", "revised_prompt": None}]}, True),
    ("images", {"data": [{"url": ""}]}, False),
    ("images", {"data": [{"revised_prompt": "a cat"}]}, False),
    ("transcriptions", {"text": "Hi"}, True),
    ("transcriptions", {"text": "", "segments": []}, True),
    ("transcriptions", {"text": None}, False),
    ("translations", {"text": "Hi"}, True),
    ("speech", {"audio": "AAAA"}, False),
    *[(name, {"status": "ok"}, False) for name in ("embeddings", "moderations", "images", "transcriptions", "speech")],
    *[(name, CHAT, False) for name in ("embeddings", "completions", "moderations", "images", "transcriptions")],
    *[(name, {"message": "no", "code": 7}, False) for name in ("embeddings", "completions", "images", "translations")],
]


@pytest.mark.parametrize(("endpoint", "value", "fits"), SHAPES)
def test_an_answer_has_the_shape_of_its_endpoint(endpoint: str, value: dict[str, Any], fits: bool) -> None:
    decoder = PassedJson(endpoint)
    body = json.dumps(value).encode()
    decoder.feed(body)

    if fits:
        assert decoder.finish() == body
        return
    with pytest.raises(UpstreamFailure):
        decoder.finish()
    assert not decoder.committed


@pytest.mark.parametrize(
    "body",
    [
        b'{"detail": "Not Found"}',
        b'{"error": "busy"}',
        b"<html>502</html>",
        b' {"status": "queued"}',
        b"  ",
        b'[{"error": {"message": "busy"}}]',
        b'\xef\xbb\xbf{"error": "busy"}',
        b'data: {"error": "busy"}\n\n',
        b'event: error\ndata: {"message": "busy"}\n\n',
        b'"busy"',
    ],
)
def test_text_is_no_sound_whatever_its_label(body: bytes) -> None:
    decoder = PassedBytes()

    assert decoder.feed(body) == b""
    with pytest.raises(UpstreamFailure):
        decoder.finish()
    assert not decoder.committed


@pytest.mark.parametrize("sound", [b"ID3\x04\x00", b"{\x00\x01\x02", b"<" + b"\x00" * 9, b"{" * 70_000])
def test_sound_may_begin_like_text(sound: bytes) -> None:
    decoder = PassedBytes()

    out = decoder.feed(sound[:2]) + decoder.feed(sound[2:]) + decoder.finish()

    assert (out, decoder.complete) == (sound, True)


# Text


@pytest.mark.parametrize("text", [b"", b"\n", b"Hi", b"{ so it began", b'{"a":1}', b"WEBVTT\n\n00:00"])
def test_a_text_comes_out_as_it_is_empty_or_not(text: bytes) -> None:
    decoder = PassedText()

    assert (decoder.feed(text), decoder.committed) == (b"", False)
    assert (decoder.finish(), decoder.committed, decoder.complete) == (text, True, True)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (json.dumps(ERROR).encode(), FailureKind.RATE_LIMITED),
        (b" <!DOCTYPE html><p>502", FailureKind.MALFORMED),
        (b"<HTML>", FailureKind.MALFORMED),
    ],
)
def test_what_is_no_text_is_a_fault(body: bytes, kind: FailureKind) -> None:
    decoder = PassedText()
    decoder.feed(body)

    with pytest.raises(UpstreamFailure) as failed:
        decoder.finish()

    assert (failed.value.kind, decoder.committed) == (kind, False)


# Bytes


def test_sound_passes_as_it_comes() -> None:
    decoder = PassedBytes()

    out = [decoder.feed(piece) for piece in (b"", b"ID3\x00", b"\xff\xfb")]

    assert (out, decoder.committed, decoder.complete) == ([b"", b"ID3\x00", b"\xff\xfb"], True, False)
    assert decoder.finish() == b""
    assert (decoder.complete, decoder.closed, decoder.fault) == (True, True, None)


def test_no_sound_at_all_is_a_fault_that_another_target_can_mend() -> None:
    assert failure(PassedBytes(), b"").kind == FailureKind.MALFORMED


# Events


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_events_pass_as_they_come_up_to_the_last(size: int) -> None:
    decoder = PassedEvents()
    whole = b": hello\n\n" + PARTIAL + LAST

    out = fed(decoder, [whole[at : at + size] for at in range(0, len(whole), size)])

    assert out + decoder.finish() == whole
    assert (decoder.committed, decoder.complete, decoder.closed) == (True, True, True)
    assert decoder.usage == Usage(output=3)


@pytest.mark.parametrize(
    "last",
    [
        {"type": "image_generation.completed"},
        {"type": "speech.audio.done"},
        {"type": "transcript.text.done"},
        {"type": "image_edit.completed"},
    ],
)
def test_the_last_events_of_every_endpoint_are_known(last: dict[str, Any]) -> None:
    decoder = PassedEvents()

    decoder.feed(event(last))

    assert decoder.closed


def test_done_is_a_last_event_too() -> None:
    decoder = PassedEvents()

    assert decoder.feed(PARTIAL + b"data: [DONE]\n\n") == PARTIAL + b"data: [DONE]\n\n"
    assert decoder.closed


def test_a_last_event_without_its_empty_line_counts() -> None:
    decoder = PassedEvents()
    decoder.feed(PARTIAL)

    assert decoder.feed(LAST[:-1]) + decoder.finish() == LAST[:-1]
    assert decoder.complete


@pytest.mark.parametrize("data", [b"", b": keep-alive\n\n", b"event: x\n\n"])
def test_a_stream_without_an_event_is_malformed(data: bytes) -> None:
    assert failure(PassedEvents(), data).kind == FailureKind.MALFORMED


@pytest.mark.parametrize("rest", [b"", PARTIAL[:30], b"data: {oops\n\n", b"data: [1]\n\n"])
def test_a_stream_that_breaks_off_is_a_fault(rest: bytes) -> None:
    decoder = PassedEvents()
    decoder.feed(PARTIAL)

    assert failure(decoder, rest).kind == FailureKind.BROKEN_STREAM
    assert not decoder.complete


def test_whole_events_before_a_fault_are_relayed() -> None:
    failed = failure(PassedEvents(), PARTIAL + PARTIAL + b"data: {oops\n\n" + LAST)

    assert (failed.kind, failed.partial) == (FailureKind.BROKEN_STREAM, PARTIAL + PARTIAL)


def test_an_error_before_any_content_is_that_error() -> None:
    assert failure(PassedEvents(), event(ERROR)).kind == FailureKind.RATE_LIMITED
    assert failure(PassedEvents(), event({"type": "error", "message": "no"})).kind == FailureKind.SERVER_ERROR


def test_an_error_after_content_is_relayed_last() -> None:
    decoder = PassedEvents()

    out = decoder.feed(PARTIAL + event(ERROR) + PARTIAL)

    assert out == PARTIAL
    assert decoder.fault is not None
    assert decoder.fault.event == event(ERROR)
    assert (decoder.complete, decoder.closed, str(decoder.fault)) == (False, True, "slow down")
    assert decoder.feed(PARTIAL) + decoder.finish() == b""


def test_an_event_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passed, "LIMIT", 100)

    assert "larger" in str(failure(PassedEvents(), b"data: " + b"x" * 101))


def test_an_error_without_its_empty_line_is_raised() -> None:
    decoder = PassedEvents()
    decoder.feed(PARTIAL + event(ERROR)[:-2])

    with pytest.raises(UpstreamFailure, match="slow down"):
        decoder.finish()


def test_event_behind_done_is_not_relayed_at_the_end_either() -> None:
    decoder = PassedEvents()
    out = fed(decoder, [LAST, b"data: [DONE]\n\n", event({"type": "x"}).rstrip(b"\n")])

    assert out + decoder.finish() == LAST + b"data: [DONE]\n\n"
