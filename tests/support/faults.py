"""The faults of an upstream, in the words of each API, by where they strike."""

from __future__ import annotations

import gzip

from tests.support import upstreams
from tests.support.natives import WireFormat
from tests.support.upstreams import Script, Wire, plain, raw, stream

SECRET = "sk-provider-0123456789abcdef"
BAD = upstreams.text_of("BAD")
HTML = b"<!doctype html><html><body><h1>502 Bad Gateway</h1></body></html>"
NOT_JSON = b"data: {this is not JSON}\n\n"

# What the first target does: the model (whose timeouts matter where it stalls), the script, and how often it is tried.
Fault = tuple[str, Script, int]
Faults = dict[str, Fault]


def statuses(wire_format: WireFormat) -> Faults:
    def refuse(status: int, **headers: str) -> Script:
        return plain(wire_format.refusal(status, f"Key {SECRET}."), status, headers=headers)

    return {
        "500": ("fault", refuse(500), 2),
        "500 without a body": ("fault", plain(b"", 500), 2),
        "502 in HTML": ("fault", plain(HTML, 502, "text/html"), 2),
        "503": ("fault", refuse(503), 2),
        "529": ("fault", refuse(529), 2),
        "429": ("fault", refuse(429, **{"retry-after": "7"}), 1),
        "401": ("fault", refuse(401), 1),
        "403": ("fault", refuse(403), 1),
        "404": ("fault", refuse(404), 1),
    }


def unanswered(wire_format: WireFormat) -> Faults:
    return {
        "dropped": ("fault", upstreams.drop, 2),
        "reset before the head": ("fault", upstreams.reset, 2),
        "head cut off": ("fault", raw(b"HTTP/1.1 200 OK\r\ncontent-ty"), 2),
        "no HTTP": ("fault", raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), 2),
        "empty body": ("fault", plain(b""), 1),
        "empty chunked body": ("fault", stream([]), 1),
        "HTML in a 200": ("fault", plain(HTML, content_type="text/html"), 1),
        "HTML that says it is a stream": ("fault", stream([HTML]), 1),
        "error in a 200": ("fault", plain(wire_format.refusal(500, "no")), 2),
        "overloaded in a 200": ("fault", plain(wire_format.refusal(529, "no")), 2),
        "JSON without an answer": ("fault", plain(b'{"status":"ok"}'), 1),
        "JSON that is no object": ("fault", plain(b'"BAD"'), 1),
        "half a JSON text": ("fault", plain(wire_format.body(BAD)[:80]), 1),
        "gzip that is none": ("fault", plain(wire_format.body(BAD), headers={"content-encoding": "gzip"}), 1),
    }


def broken_body(wire_format: WireFormat) -> Faults:
    answer = wire_format.body(BAD)
    packed = gzip.compress(answer)[:60]
    return {
        "body reset": ("fault", plain(answer[:80], missing=900, then=Wire.reset), 2),
        "body shorter than its length": ("fault", plain(answer[:80], missing=900, then=Wire.eof), 2),
        "whole text in an unmet length": ("fault", plain(answer, missing=9, then=Wire.eof), 2),
        "chunked body without its end": ("fault", stream([answer], Wire.eof), 2),
        "gzip cut off": ("fault", plain(packed, headers={"content-encoding": "gzip"}), 1),
        "stall before the head": ("total", upstreams.stall, 1),
        "stall in the body": ("total", plain(answer[:80], missing=900, then=Wire.stall), 1),
    }


def before_content(wire_format: WireFormat) -> Faults:
    start, word = wire_format.opening, wire_format.words("BAD")[0]
    half = word[: len(word) // 2]
    return {
        "stall before the head": ("first_token", upstreams.stall, 1),
        "stall after the head": ("first_token", stream([], Wire.stall), 1),
        "stall after the start": ("first_token", stream(start, Wire.stall), 1),
        "stall within the first event": ("first_token", stream([*start, half], Wire.stall), 1),
        "keep-alives for ever": ("first_token", upstreams.endless(b": ping\n\n", start), 1),
        "reset after the head": ("fault", stream([], Wire.reset), 2),
        "reset after the start": ("fault", stream(start, Wire.reset), 2),
        "reset within the first event": ("fault", stream([*start, half], Wire.reset), 2),
        "closed after the start": ("fault", stream(start, Wire.eof), 2),
        "closed within the first event": ("fault", stream([*start, half], Wire.eof), 2),
        "end after the start": ("fault", stream(start), 1),
        "end within the first event": ("fault", stream([*start, half]), 1),
        "[DONE] after the start": ("fault", stream([*start, upstreams.DONE]), 1),
        "error event first": ("fault", stream([wire_format.errors["error"]]), 2),
        "error event after the start": ("fault", stream([*start, wire_format.errors["error"]]), 2),
        "overloaded after the start": ("fault", stream([*start, wire_format.errors["overloaded"]]), 2),
        "rate limit after the start": ("fault", stream([*start, wire_format.errors["rate limit"]]), 1),
        "error event, then a stall": ("fault", stream([*start, wire_format.errors["error"]], Wire.stall), 2),
        "malformed event first": ("fault", stream([NOT_JSON]), 1),
        "malformed event after the start": ("fault", stream([*start, NOT_JSON]), 1),
        "bytes that are no chunks": ("fault", upstreams.then(stream(start, upstreams.nothing), raw(b"zz\r\nBAD")), 2),
        "a whole answer in no stream": ("fault", plain(wire_format.body(BAD)[:-1]), 1),
    }


def after_content(wire_format: WireFormat) -> Faults:
    sent = [*wire_format.opening, *wire_format.words("BAD")]
    half = sent[-1][: len(sent[-1]) // 2]
    error, late = wire_format.errors["error"], [*wire_format.words("LATE"), *wire_format.closing]
    return {
        "reset": ("fault", stream(sent, Wire.reset), 1),
        "reset within an event": ("fault", stream([*sent, half], Wire.reset), 1),
        "closed": ("fault", stream(sent, Wire.eof), 1),
        "closed within an event": ("fault", stream([*sent, half], Wire.eof), 1),
        "end without a finish": ("fault", stream(sent), 1),
        "end within an event": ("fault", stream([*sent, half]), 1),
        "[DONE] without a finish": ("fault", stream([*sent, upstreams.DONE]), 1),
        "stall": ("idle", stream(sent, Wire.stall), 1),
        "stall within an event": ("idle", stream([*sent, half], Wire.stall), 1),
        "keep-alives for ever": ("total_stream", upstreams.endless(b": ping\n\n", sent), 1),
        "error event": ("fault", stream([*sent, error]), 1),
        "overloaded event": ("fault", stream([*sent, wire_format.errors["overloaded"]]), 1),
        "error event, then a stall": ("fault", stream([*sent, error], Wire.stall), 1),
        "error event, then a reset": ("fault", stream([*sent, error], Wire.reset), 1),
        "error event, then more text": ("fault", stream([*sent, error, *late]), 1),
        "malformed event": ("fault", stream([*sent, NOT_JSON, *late]), 1),
        "HTML": ("fault", stream([*sent, HTML]), 1),
        "in one piece, then a reset": ("fault", stream([b"".join(sent)], Wire.reset), 1),
        "in one piece, half an event at its end": ("fault", stream([b"".join(sent) + half]), 1),
        "in one piece, malformed in the middle": ("fault", stream([b"".join([*sent, NOT_JSON, *late])]), 1),
        "in one piece, an error at its end": ("fault", stream([b"".join([*sent, error])]), 1),
    }


def after_finish(wire_format: WireFormat) -> Faults:
    whole = [*wire_format.opening, *wire_format.words("BAD"), *wire_format.closing]
    return {
        "end": ("fault", stream(whole), 1),
        "reset": ("fault", stream(whole, Wire.reset), 1),
        "closed": ("fault", stream(whole, Wire.eof), 1),
        "stall": ("idle", stream(whole, Wire.stall), 1),
        "more bytes": ("fault", stream([*whole, b"\n: bye\n\n"]), 1),
        "a last event without its empty line": ("fault", stream([*whole[:-1], whole[-1].strip()]), 1),
        "in one piece": ("fault", stream([b"".join(whole)]), 1),
        "in one piece, then a reset": ("fault", stream([b"".join(whole)], Wire.reset), 1),
    }
