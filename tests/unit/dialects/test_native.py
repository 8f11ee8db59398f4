"""What the decoders of all native formats have in common: bytes, commit point, completeness, faults."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest

from proxy.core.dialects import NativeFormat
from proxy.core.failures import FailureKind, UpstreamFailure
from proxy.core.plan import Target
from proxy.dialects.anthropic.native import CountBody, MessageBody, MessageEvents
from proxy.dialects.base import NativeDecoder
from proxy.dialects.gemini.native_answer import CountedTokens, Embeddings, GenerateBody, GenerateStream
from proxy.dialects.native import HELD_LIMIT
from proxy.dialects.openai.native import ResponseBody, ResponseEvents
from proxy.dialects.table import Dialects
from tests.support import exchanges
from tests.support.fakes import FakeClock
from tests.support.native_calls import BODIES, native_call, native_target
from tests.support.natives import anthropic_stream, gemini_chunk, google, named

RECORDED = ("anthropic-messages", "openai-responses", "gemini-generate")
UNREADABLE = b"data: {not json}\n\n"


def response(**members: Any) -> dict[str, Any]:
    usage = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
    return {"id": "resp_1", "object": "response", "status": "completed", "output": [], "usage": usage, **members}


@dataclass(frozen=True)
class Format:
    """The events of one API: `before` the content, `content`, and the `end`."""

    name: str
    decoder: Callable[[], NativeDecoder]
    before: list[bytes]
    content: list[bytes]
    end: list[bytes]
    error: bytes
    body: bytes

    @property
    def whole(self) -> bytes:
        return b"".join([*self.before, *self.content, *self.end])


def _anthropic() -> Format:
    events = anthropic_stream({"type": "text", "text": "Hello world, how are you?"})
    overloaded = {"type": "overloaded_error", "message": "Overloaded"}
    error = named("error", error=overloaded)
    body = json.dumps({"type": "error", "error": overloaded}).encode()
    return Format("messages", MessageEvents, events[:3], events[3:7], events[7:], error, body)


def _responses() -> Format:
    item = {"type": "message", "id": "msg_1"}
    before = [
        named("response.created", response=response(status="in_progress", usage=None)),
        named("response.output_item.added", item=item),
    ]
    content = [named("response.output_text.delta", delta=text, item_id="msg_1") for text in ("Hello ", "world, ", "ok")]
    end = [named("response.output_item.done", item=item), named("response.completed", response=response())]
    failed = {"code": "server_error", "message": "The server had an error"}
    error = named("response.failed", response=response(status="failed", error=failed))
    return Format("responses", ResponseEvents, before, content, end, error, json.dumps({"error": failed}).encode())


def _generate() -> Format:
    content = [google(gemini_chunk({"text": text})) for text in ("Hello ", "world, ", "ok")]
    end = [google(gemini_chunk({"text": "."}, finish="STOP"))]
    value = {"error": {"code": 503, "message": "The model is overloaded", "status": "UNAVAILABLE"}}
    before = [google({"usageMetadata": {"promptTokenCount": 7}, "responseId": "r1"})]
    return Format("generate", GenerateStream, before, content, end, google(value), json.dumps(value).encode())


FORMATS = [_anthropic(), _responses(), _generate()]
each_format = pytest.mark.parametrize("format", FORMATS, ids=lambda format: format.name)


def read(decoder: NativeDecoder, pieces: list[bytes]) -> bytes:
    """All that a decoder gives for the pieces, or what it gives before it fails."""
    out = b"".join([decoder.feed(piece) for piece in pieces])
    return out + decoder.finish()


def failing(decoder: NativeDecoder, pieces: list[bytes]) -> UpstreamFailure:
    with pytest.raises(UpstreamFailure) as caught:
        read(decoder, pieces)
    return caught.value


@each_format
def test_a_stream_passes_to_the_byte(format: Format) -> None:
    decoder = format.decoder()

    out = read(decoder, [format.whole])

    assert out == format.whole
    assert (decoder.complete, decoder.committed, decoder.fault) == (True, True, None)
    assert decoder.usage is not None
    assert (decoder.usage.input, decoder.usage.output) == (7, 3)


@each_format
def test_the_commit_point_is_the_first_content(format: Format) -> None:
    decoder = format.decoder()

    decoder.feed(b"".join(format.before))
    before = decoder.committed
    decoder.feed(format.content[0])

    assert (before, decoder.committed, decoder.complete) == (False, True, False)


@each_format
def test_every_cut_gives_the_same_bytes_and_state(format: Format) -> None:
    for size in (1, 2, 3, 7, 50, 300):
        decoder = format.decoder()
        pieces = [format.whole[at : at + size] for at in range(0, len(format.whole), size)]

        assert read(decoder, pieces) == format.whole
        assert (decoder.complete, decoder.native_finish is not None) == (True, True)


@each_format
def test_an_end_before_the_content_is_malformed(format: Format) -> None:
    assert failing(format.decoder(), format.before).kind is FailureKind.MALFORMED


@each_format
def test_an_end_within_the_content_is_a_broken_stream(format: Format) -> None:
    assert failing(format.decoder(), [*format.before, *format.content]).kind is FailureKind.BROKEN_STREAM


@each_format
def test_an_error_before_the_content_fails_with_its_own_kind(format: Format) -> None:
    failure = failing(format.decoder(), [*format.before, format.error])

    assert failure.kind in (FailureKind.OVERLOADED, FailureKind.SERVER_ERROR)
    assert failure.format == format.name


@each_format
def test_an_error_after_the_content_ends_the_stream(format: Format) -> None:
    decoder = format.decoder()
    sent = b"".join([*format.before, *format.content])

    out = decoder.feed(sent + format.error + b"".join(format.end)) + decoder.finish()

    assert out == sent
    assert decoder.fault is not None
    assert (decoder.fault.event, decoder.fault.format) == (format.error, format.name)
    assert (decoder.closed, decoder.complete) == (True, False)


@each_format
def test_what_follows_a_whole_answer_changes_nothing(format: Format) -> None:
    decoder = format.decoder()

    out = decoder.feed(format.whole) + decoder.feed(format.error) + decoder.feed(UNREADABLE) + decoder.finish()

    assert out == format.whole
    assert (decoder.fault, decoder.complete) == (None, True)


@each_format
def test_an_unreadable_event_breaks_the_stream(format: Format) -> None:
    before = failing(format.decoder(), [*format.before, UNREADABLE])
    after = failing(format.decoder(), [*format.before, *format.content, format.content[0] + UNREADABLE])

    assert (before.kind, after.kind) == (FailureKind.MALFORMED, FailureKind.BROKEN_STREAM)
    assert after.partial == format.content[0]


@each_format
@pytest.mark.parametrize("page", [b"", b"<html>no</html>", b"{}", b'{"id":1', b"\xff\xfe\xfd", b"[]"])
def test_a_body_that_is_no_stream_is_malformed(format: Format, page: bytes) -> None:
    assert failing(format.decoder(), [page]).kind is FailureKind.MALFORMED


@each_format
def test_an_error_instead_of_a_stream_is_its_own(format: Format) -> None:
    failure = failing(format.decoder(), [format.body[:9], format.body[9:]])

    assert failure.kind in (FailureKind.OVERLOADED, FailureKind.SERVER_ERROR)


@each_format
def test_comments_and_blank_lines_pass(format: Format) -> None:
    sent = [b": hello\n\n", *format.before, b":\n\n", *format.content, b"\n", *format.end]

    assert read(format.decoder(), sent) == b"".join(sent)


def test_too_much_without_content_is_malformed() -> None:
    comment = b": " + b"x" * (HELD_LIMIT // 4) + b"\n\n"

    assert failing(MessageEvents(), [*FORMATS[0].before, *[comment] * 5]).kind is FailureKind.MALFORMED


@each_format
def test_the_texts_are_counted_for_an_estimate(format: Format) -> None:
    decoder = format.decoder()

    for piece in [*format.before, *format.content]:
        decoder.feed(piece)

    assert 10 < decoder.text_bytes < 40


def test_a_second_pace_of_pings_opens_a_silent_message() -> None:
    decoder = MessageEvents()
    ping = named("ping")

    decoder.feed(b"".join(FORMATS[0].before[:2]))
    committed = [bool(decoder.feed(ping)) and decoder.committed for _ in range(3)]

    assert committed == [False, False, True]


def test_an_empty_message_with_a_stop_reason_is_whole() -> None:
    events = anthropic_stream()

    assert read(MessageEvents(), events) == b"".join(events)


def test_a_message_that_stops_without_content_and_reason_is_malformed() -> None:
    first = anthropic_stream()[0]

    assert failing(MessageEvents(), [first, named("message_stop")]).kind is FailureKind.MALFORMED


def test_content_behind_the_stop_reason_must_be_ended_again() -> None:
    decoder = MessageEvents()
    format = FORMATS[0]

    decoder.feed(b"".join([*format.before, *format.content, *format.end[:-1]]))
    whole = decoder.complete
    decoder.feed(format.content[0])

    assert (whole, decoder.complete) == (True, False)


def test_usage_of_a_message_has_disjoint_buckets() -> None:
    text = {"type": "text", "text": "Hi"}
    decoder = MessageEvents()

    read(decoder, anthropic_stream(text, cache_read_input_tokens=100, cache_creation_input_tokens=20))

    assert decoder.usage is not None
    assert (decoder.usage.input, decoder.usage.cached, decoder.usage.cache_write) == (127, 100, 20)


def test_usage_of_a_response_has_its_parts() -> None:
    usage = {
        "input_tokens": 70,
        "input_tokens_details": {"cached_tokens": 60},
        "output_tokens": 30,
        "output_tokens_details": {"reasoning_tokens": 20},
        "total_tokens": 100,
    }
    decoder = ResponseBody()

    read(decoder, [json.dumps(response(usage=usage, service_tier="priority")).encode()])

    assert decoder.usage is not None
    assert (decoder.usage.input, decoder.usage.cached) == (70, 60)
    assert (decoder.usage.output, decoder.usage.reasoning, decoder.usage.service) == (30, 20, "priority")


ANSWERS: dict[NativeFormat, dict[str, Any]] = {
    "messages": {
        "type": "message",
        "content": [{"type": "text", "text": "Hi"}],
        "usage": {"input_tokens": 7, "output_tokens": 3},
    },
    "responses": response(),
    "generate": gemini_chunk({"text": "Hi"}, finish="STOP"),
}


def asked(name: NativeFormat, members: dict[str, Any], headers: dict[str, str] | None = None) -> NativeDecoder:
    """The decoder of the answer to a request with these members."""
    call = native_call(name, json.dumps({**BODIES[name], **members}).encode())
    decoder = Dialects(FakeClock())[name].decoder(call, Target(native_target(name)), headers or {})
    assert isinstance(decoder, (MessageBody, ResponseBody, GenerateBody))
    return decoder


REQUESTS: list[tuple[NativeFormat, dict[str, Any], str | None]] = [
    ("messages", {}, None),
    ("messages", {"speed": "fast"}, "fast"),
    ("messages", {"speed": "standard", "service_tier": "auto"}, None),
    ("messages", {"inference_geo": "us"}, "other"),
    ("responses", {"service_tier": "priority"}, "priority"),
    ("responses", {"service_tier": "auto"}, None),
    ("generate", {"serviceTier": "priority"}, "priority"),
    ("generate", {"service_tier": "SERVICE_TIER_FLEX"}, "flex"),
]


@pytest.mark.parametrize(("name", "members", "service"), REQUESTS)
def test_an_answer_that_names_no_service_tier_has_the_one_of_its_request(
    name: NativeFormat, members: dict[str, Any], service: str | None
) -> None:
    decoder = asked(name, members)

    read(decoder, [json.dumps(ANSWERS[name]).encode()])

    assert decoder.usage is not None
    assert decoder.usage.service == service


NAMED: list[tuple[NativeFormat, dict[str, Any], dict[str, Any], str | None]] = [
    ("messages", {}, {"speed": "fast", "service_tier": "standard"}, "fast"),
    ("messages", {"speed": "fast"}, {"speed": "standard"}, None),
    ("messages", {"speed": "fast"}, {"service_tier": "standard", "speed": None}, "fast"),
    ("messages", {}, {"service_tier": "priority", "inference_geo": "global"}, "priority"),
    ("messages", {}, {"inference_geo": "us"}, "other"),
    ("generate", {}, {"trafficType": "ON_DEMAND_PRIORITY"}, "priority"),
    ("generate", {"serviceTier": "priority"}, {"trafficType": "ON_DEMAND"}, None),
    ("generate", {}, {"trafficType": "PROVISIONED_THROUGHPUT"}, "other"),
    ("generate", {"serviceTier": "priority"}, {"serviceTier": "standard"}, None),
]


@pytest.mark.parametrize(("name", "members", "reported", "service"), NAMED)
def test_the_service_tier_that_an_answer_names_counts(
    name: NativeFormat, members: dict[str, Any], reported: dict[str, Any], service: str | None
) -> None:
    decoder, answer = asked(name, members), dict(ANSWERS[name])
    member = "usage" if name == "messages" else "usageMetadata"
    answer[member] = {**answer[member], **reported}

    read(decoder, [json.dumps(answer).encode()])

    assert decoder.usage is not None
    assert decoder.usage.service == service


def test_the_headers_of_gemini_name_the_service_tier() -> None:
    decoder = asked("generate", {"serviceTier": "priority"}, {"x-gemini-service-tier": "standard"})

    read(decoder, [json.dumps(ANSWERS["generate"]).encode()])

    assert decoder.usage is not None
    assert decoder.usage.service is None


def test_an_incomplete_response_is_a_whole_answer() -> None:
    decoder = ResponseEvents()
    details = {"reason": "max_output_tokens"}
    last = named("response.incomplete", response=response(status="incomplete", incomplete_details=details))

    read(decoder, [*FORMATS[1].before, *FORMATS[1].content, last])

    assert (decoder.complete, decoder.native_finish) == (True, "max_output_tokens")


def test_a_tool_call_is_content() -> None:
    message, answer, google_answer = MessageEvents(), ResponseEvents(), GenerateStream()

    message.feed(named("content_block_start", index=0, content_block={"type": "tool_use", "id": "t", "name": "f"}))
    answer.feed(named("response.output_item.added", item={"type": "function_call", "name": "f"}))
    google_answer.feed(google(gemini_chunk({"functionCall": {"name": "f", "args": {}}})))

    assert [message.committed, answer.committed, google_answer.committed] == [True, True, True]


# Google's array


def array(*chunks: dict[str, Any]) -> bytes:
    return b"[" + b"\n,\r\n".join(json.dumps(chunk, indent=2).encode() for chunk in chunks) + b"\n]\n"


TEXTS = [gemini_chunk({"text": text}) for text in ("Hello [", "wor{ld", "ok")]


def test_an_array_passes_to_the_byte_in_every_cut() -> None:
    whole = array(*TEXTS, gemini_chunk({"text": "."}, finish="STOP"))
    for size in (1, 2, 7, 100, len(whole)):
        decoder = GenerateStream(events=False)

        assert read(decoder, [whole[at : at + size] for at in range(0, len(whole), size)]) == whole
        assert (decoder.complete, decoder.usage is not None) == (True, True)


def test_an_array_without_a_finish_is_not_closed() -> None:
    decoder = GenerateStream(events=False)
    out = decoder.feed(array(*TEXTS))

    assert b"]" not in out[-3:]
    assert failing(decoder, []).kind is FailureKind.BROKEN_STREAM


def test_an_error_in_an_array_is_not_relayed() -> None:
    decoder = GenerateStream(events=False)
    whole = array(*TEXTS, {"error": {"code": 503, "message": "The model is overloaded", "status": "UNAVAILABLE"}})

    out = decoder.feed(whole) + decoder.finish()

    assert b"overloaded" not in out
    assert decoder.fault is not None


def test_another_form_than_was_asked_for_is_malformed() -> None:
    whole = array(*TEXTS, gemini_chunk({"text": "."}, finish="STOP"))

    array_for_events = failing(GenerateStream(), [whole])
    events_for_array = failing(GenerateStream(events=False), [FORMATS[2].whole])

    assert (array_for_events.kind, events_for_array.kind) == (FailureKind.MALFORMED, FailureKind.MALFORMED)


def test_a_failed_call_without_content_is_a_failure_of_the_model() -> None:
    chunk = gemini_chunk(finish="MALFORMED_FUNCTION_CALL")

    stream = failing(GenerateStream(), [google(chunk)])
    body = failing(GenerateBody(), [json.dumps(chunk).encode()])

    assert (stream.kind, body.kind) == (FailureKind.SERVER_ERROR, FailureKind.SERVER_ERROR)


def test_a_blocked_prompt_is_an_answer() -> None:
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}}
    stream, body = GenerateStream(), GenerateBody()

    read(stream, [google(blocked)])
    read(body, [json.dumps(blocked).encode()])

    assert (stream.native_finish, body.native_finish) == ("SAFETY", "SAFETY")


# Whole bodies

MESSAGE = {"type": "message", "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn"}
GOOD = [
    (MessageBody, {**MESSAGE, "usage": {"input_tokens": 7, "output_tokens": 3}}),
    (ResponseBody, response()),
    (GenerateBody, gemini_chunk({"text": "Hi"}, finish="STOP")),
]
BAD: list[Any] = [{}, {"error": {"message": "no"}}, [], "x", {"type": "error", "error": {"type": "api_error"}}]


@pytest.mark.parametrize(("decoder", "value"), GOOD)
def test_a_whole_body_passes_to_the_byte(decoder: Callable[[], NativeDecoder], value: dict[str, Any]) -> None:
    reader = decoder()
    body = json.dumps(value, indent=3).encode()

    assert read(reader, [body[:10], body[10:]]) == body
    assert reader.usage is not None
    assert (reader.usage.input, reader.usage.output, reader.complete) == (7, 3, True)


@pytest.mark.parametrize("decoder", [MessageBody, ResponseBody, GenerateBody, CountBody, Embeddings])
@pytest.mark.parametrize("value", BAD)
def test_another_body_is_a_failure(decoder: Callable[[], NativeDecoder], value: Any) -> None:
    assert failing(decoder(), [json.dumps(value).encode()]).kind is not FailureKind.BROKEN_STREAM


@pytest.mark.parametrize(
    ("decoder", "value"), [(CountBody, {"input_tokens": 12}), (CountedTokens, {"totalTokens": 12}), (CountedTokens, {})]
)
def test_counting_tokens_costs_nothing(decoder: Callable[[], NativeDecoder], value: dict[str, Any]) -> None:
    reader = decoder()

    read(reader, [json.dumps(value).encode()])

    assert reader.usage is not None
    assert (reader.usage.input, reader.usage.output) == (0, 0)


# Recordings

DECODERS: dict[str, tuple[Callable[[], NativeDecoder], Callable[[], NativeDecoder]]] = {
    "anthropic-messages": (MessageEvents, MessageBody),
    "openai-responses": (ResponseEvents, ResponseBody),
    "gemini-generate": (GenerateStream, GenerateBody),
}
FILES = [path for name in RECORDED if (path := exchanges.FOLDER / f"{name}.jsonl").is_file()]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_recorded_answers_pass_to_the_byte(path: Any) -> None:
    rng = Random(path.stem)
    streamed, whole = DECODERS[path.stem]
    changed = []
    for exchange in exchanges.read(path):
        decoder = streamed() if exchange["stream"] else whole()
        if isinstance(decoder, GenerateStream) and "alt=sse" not in exchange["path"]:
            decoder = GenerateStream(events=False)
        data = exchanges.answer_of(exchange)
        out = read(decoder, list(exchanges.pieces(data, rng.choice(exchanges.CUTS), rng)))
        if out != data or not decoder.complete or decoder.native_finish is None:
            changed.append(exchange["id"])

    assert changed == []


# Pieces of content, which have a shorter path

ODD: tuple[bytes, ...] = (
    b'{"type":"X","index":0,"item_id":"i","delta":{"type":"text_delta","text":"x"}}',
    b'{"type":"X","index":0,"item_id":"i","delta":"x"}',
    b'{"type":"X","index":0,"delta":{"type":"text_delta","text":7}}',
    b'{"type":"X","delta":{},"error":{"message":"no"}}',
    b'{"type":"X","delta":"x","error":{"message":"no"}}',
    b'{"type":"error","error":{"type":"api_error","message":"no"},"delta":"x","index":0}',
    b'{"type":"X","index":0,"delta":{"type":"text_delta","text":"\xff"}}',
    b'{"type":"X","delta":"\xff"}',
    b'{"type":"X","delta":"\\ud800"}',
    b'{"type":"X",\ndata: "delta":"x"}',
    b'{"type":"X","delta":"x"}\nid: 7',
    b"{not json}",
    b"[1]",
    b"",
)
NAMES = (b"content_block_delta", b"response.output_text.delta", b"response.completed", b"error")


def states(decoder: NativeDecoder, pieces: list[bytes]) -> list[Any]:
    """What a decoder gives and shows after each piece, to its first failure."""
    seen: list[Any] = []
    try:
        for piece in pieces:
            out = decoder.feed(piece)
            seen.append((out, decoder.committed, decoder.complete, decoder.closed, decoder.text_bytes))
    except UpstreamFailure as failure:
        seen.append((failure.kind, str(failure), failure.partial))
    return seen


class LongMessageEvents(MessageEvents):
    """Reads every event in full."""

    def _is_plain(self, chunk: bytes) -> bool:
        return False


class LongResponseEvents(ResponseEvents):
    """Reads every event in full."""

    def _is_plain(self, chunk: bytes) -> bool:
        return False


@pytest.mark.parametrize(("format", "long"), [(FORMATS[0], LongMessageEvents), (FORMATS[1], LongResponseEvents)])
def test_odd_pieces_are_read_as_on_the_longer_path(format: Format, long: Callable[[], NativeDecoder]) -> None:
    start, piece = b"".join([*format.before, format.content[0]]), format.content[0]
    events = [b"event: %s\ndata: %s\n\n" % (name, odd.replace(b'"X"', b'"%s"' % name)) for name in NAMES for odd in ODD]
    chunks = [chunk for event in events for chunk in (event, event + piece, piece + event)]

    different = [
        chunk for chunk in chunks if states(format.decoder(), [start, chunk]) != states(long(), [start, chunk])
    ]

    assert different == []
