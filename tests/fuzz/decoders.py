"""Fuzzes the decoders: mutated answers, cut anywhere, may raise nothing but `UpstreamFailure`.

    python -m tests.fuzz.decoders --seconds 60                 each kind of decoder for so long
    python -m tests.fuzz.decoders --only gemini --seed 7       one of them, with another seed
    python -m tests.fuzz.decoders --only gemini --case 7:1234  one case again, with its traceback

A case is told by its seed and number, as long as the answers at hand are the same: those of the exchanges in
`tests/contract/dialects`, those of the recordings where a folder has them, and those that `tests/support/natives.py`
builds. They are mutated as bytes and as JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

from proxy.core.call import Call
from proxy.core.clock import SystemClock
from proxy.core.dialects import NativeFormat
from proxy.core.failures import UpstreamFailure
from proxy.core.model import Provider
from proxy.core.plan import Target
from proxy.core.recall import Recall
from proxy.core.sse import data_of
from proxy.dialects.anthropic.dialect import AnthropicDialect
from proxy.dialects.base import Decoder, Dialect
from proxy.dialects.gemini.dialect import GeminiDialect
from proxy.dialects.openai.dialect import OpenAIDialect
from proxy.dialects.table import Dialects
from proxy.surfaces.openai.chat import read_chat
from proxy.surfaces.openai.endpoints import PASSED, read_passed
from tests.support import exchanges, natives, upstreams
from tests.support.calls import deployment, snapshot
from tests.support.fakes import FakeClock
from tests.support.native_calls import native_call, native_target
from tests.support.servers import ROOT

LONGEST_SEED = 20_000  # bytes: larger answers cost more cases than they find
_END = re.compile(rb"(\r\n\r\n|\n\n)")
_TOKENS = (
    *(b"null", b"true", b"-1", b"1e999", b"NaN", b"{}", b"[]", b'""', b'"\\ud800"', b"\x00", b"\xff\xfe", b"\xc3"),
    *(
        b"data:",
        b"data: [DONE]\n\n",
        b"\r\n\r\n",
        b"\n\n",
        b"\r",
        b": ping\n\n",
        b"event: error\n",
        b"{",
        b"}",
        b"[",
        b"]",
    ),
    *(
        b'"error":',
        b'"index":',
        b'"type":',
        b'"choices":',
        b'"candidates":',
        b'"usage":',
        b'"content":',
        b"\xef\xbb\xbf",
    ),
    *(b'"finish_reason":"stop"', b'"finishReason":"STOP"', b'"stop_reason":"tool_use"', b'{"error":{"message":"no"}}'),
)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 10**30, 0.5, 1e308, "", "text", "\ud800", "STOP", "tool_use", "text_delta", "error"),
    *([], {}, [[]], [None], {"a": {}}, [{"text": "x"}], {"text": 1}, {"message": 5}, [1, "a", None, {}]),
)


@dataclass(frozen=True)
class Kind:
    """One kind of decoder: how to make one of some call, streamed or not, and the answers to mutate."""

    name: str
    decoder: Callable[[Random, bool], Decoder]
    seeds: Callable[[], list[bytes]]
    translated: bool = False  # we wrote the answer, so that its form is ours to keep


@dataclass(frozen=True)
class Outcome:
    """How a case ended: `whole`, `failed` (by an `UpstreamFailure`), or what went wrong."""

    ended: str
    fault: str | None = None


# Decoders


def _chat(rng: Random, stream: bool, **members: Any) -> Call:
    body: dict[str, Any] = {"model": "acme/m", "messages": [{"role": "user", "content": "Hi"}], **members}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": bool(rng.randrange(2))}}
    return read_chat(json.dumps(body).encode(), {}, id="req_1", request_id="r", snapshot=snapshot())


def _options(rng: Random) -> dict[str, Any]:
    """What of a call changes how its answer is read."""
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": rng.choice(["object", "array"])}}}
    return rng.choice(
        [
            {},
            {},
            {"functions": [{"name": "f"}]},
            {"response_format": schema},
            {"response_format": {"type": "json_object"}},
        ]
    )


def _openai(rng: Random, stream: bool) -> Decoder:
    call = _chat(rng, stream, n=rng.choice([1, 1, 2]))
    usual = "text/event-stream" if stream else "application/json"
    headers = {"content-type": rng.choice([*[usual] * 9, "application/json", "text/html", ""])}
    return OpenAIDialect().decoder(call, Target(deployment()), headers)


def _translating(
    dialect: Callable[[Recall, FakeClock], Dialect], name: Any, **more: Any
) -> Callable[[Random, bool], Decoder]:
    def decoder(rng: Random, stream: bool) -> Decoder:
        clock = FakeClock()
        call = _chat(rng, stream, **_options(rng), **(more if rng.randrange(4) == 0 else {}))
        target = Target(deployment(of=Provider("acme", name, "https://acme.test")))
        return dialect(Recall(clock), clock).decoder(call, target, {})

    return decoder


def _passed(rng: Random, stream: bool) -> Decoder:
    endpoint = rng.choice([each for each in PASSED if not each.form])
    body = {"model": "acme/m", endpoint.needs: "a", "stream": stream}
    call = read_passed(endpoint, json.dumps(body).encode(), {}, id="req_1", request_id="r", snapshot=snapshot())
    usual = "text/event-stream" if stream else "application/json"
    headers = {"content-type": rng.choice([usual, usual, usual, "audio/mpeg", "text/plain"])}
    return OpenAIDialect().decoder(call, Target(deployment()), headers)


def _embeddings(rng: Random, stream: bool) -> Decoder:
    endpoint = next(each for each in PASSED if each.name == "embeddings")
    given: Any = rng.choice(["a", ["a"], ["a", "b"]])
    body = {"model": "acme/m", "input": given, "encoding_format": rng.choice(["float", "base64"])}
    call = read_passed(endpoint, json.dumps(body).encode(), {}, id="req_1", request_id="r", snapshot=snapshot())
    clock = FakeClock()
    target = Target(deployment(of=Provider("acme", "gemini", "https://acme.test")))
    return GeminiDialect(Recall(clock), clock).decoder(call, target, {})


def _native(format: NativeFormat) -> Callable[[Random, bool], Decoder]:
    def decoder(rng: Random, stream: bool) -> Decoder:
        query = rng.choice(["alt=sse", ""]) if stream else ""
        call = native_call(format, stream=stream, body={"n": rng.choice([1, 1, 2])}, query=query)
        return Dialects(FakeClock())[format].decoder(call, Target(native_target(format)), {})

    return decoder


# Answers to begin with


@cache
def _recorded() -> list[tuple[str, bytes]]:
    """Recorded answers that are not too long, with the name of their API; a few of each file."""
    found = []
    for path in sorted(exchanges.FOLDER.glob("*.jsonl")):
        if path.name.endswith(".expected.jsonl"):
            continue
        answers = [(str(each["api"]), exchanges.answer_of(each)) for each in exchanges.read(path)]
        found += [(api, answer) for api, answer in answers if len(answer) <= LONGEST_SEED][:80]
    return found


def _of_api(*endings: str) -> list[bytes]:
    return [answer for api, answer in _recorded() if api.endswith(endings)]


def _own(name: str, *members: str) -> list[bytes]:
    """The answers of our own exchanges with one API."""
    found = []
    for line in exchanges.read(ROOT / "tests" / "contract" / "dialects" / f"{name}.jsonl"):
        for value in (line.get(member) for member in members):
            if isinstance(value, str):
                found.append(value.encode())
            elif isinstance(value, list):
                found += [
                    b"".join(natives.google(each) for each in value),
                    *(json.dumps(each).encode() for each in value),
                ]
    return found


def _openai_seeds() -> list[bytes]:
    own = [exchanges.answer_of(each) for each in exchanges.read(exchanges.OWN)]
    return [
        *own,
        b"".join([upstreams.ROLE, *upstreams.words("a"), upstreams.FINISH, upstreams.DONE]),
        *_of_api("-chat"),
    ]


def _anthropic_seeds() -> list[bytes]:
    blocks = (
        {"type": "thinking", "thinking": "why", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "AAAA"},
        {"type": "text", "text": "Zoë 🚦", "citations": [{"type": "web", "url": "https://a.test", "title": "a"}]},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "tool_use", "id": "toolu_1", "name": "answer_in_json", "input": {"answer": [1]}},
        {"type": "tool_use", "id": "toolu_2", "name": "f", "input": {"a": 1}},
    )
    made = [b"".join(natives.anthropic_stream(*blocks)), json.dumps(natives.anthropic_message(*blocks)).encode()]
    errors = [b"".join([*natives.ANTHROPIC.opening, event]) for event in natives.ANTHROPIC.errors.values()]
    return [*made, *errors, *_own("anthropic", "answer"), *_of_api("anthropic-messages")]


def _gemini_seeds() -> list[bytes]:
    parts: tuple[dict[str, Any], ...] = (
        {"text": "why", "thought": True},
        {"text": "Zoë 🚦", "thoughtSignature": "c2ln"},
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        {"executableCode": {"language": "PYTHON", "code": "1"}},
        {"functionCall": {"name": "f", "args": {"a": [1]}}},
        {
            "functionCall": {
                "name": "f",
                "partialArgs": [{"jsonPath": "$.a[0].b", "stringValue": "x"}],
                "willContinue": True,
            }
        },
    )
    whole = natives.gemini_chunk(*parts, finish="STOP")
    stream = natives.gemini_stream(*parts)
    array = b"[" + b",\r\n".join(event.removeprefix(b"data: ").strip() for event in stream) + b"]"
    errors = [b"".join([*natives.GEMINI.opening, event]) for event in natives.GEMINI.errors.values()]
    return [
        json.dumps(whole).encode(),
        b"".join(stream),
        array,
        *errors,
        *_own("gemini", "answers"),
        *_of_api("-generate"),
    ]


def _passed_seeds() -> list[bytes]:
    events = [{"type": "image_generation.partial_image", "b64_json": "AA"}, {"type": "image_generation.completed"}]
    text = {"choices": [{"text": "a", "index": 0, "finish_reason": None}]}
    last = {"choices": [{"text": "", "index": 0, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}}
    made = [
        b"".join(upstreams.event(each) for each in events),
        b'{"object":"list","data":[{"embedding":[0.1]}],"usage":{}}',
    ]
    made += [
        upstreams.event(text) + upstreams.event(last) + upstreams.DONE,
        b"ID3\x00\xff",
        b'{"error":{"message":"no"}}',
    ]
    return [*made, *_of_api("-embeddings", "-completions")]


def _embedding_seeds() -> list[bytes]:
    one = {"embedding": {"values": [0.5, -1.0]}, "usageMetadata": {"promptTokenCount": 2}}
    return [json.dumps(one).encode(), b'{"embeddings":[{"values":[1]},{"values":[2]}]}', *_of_api("gemini-embeddings")]


def _response_seeds() -> list[bytes]:
    stream = [*natives.RESPONSES.opening, natives.RESPONSES.text("Zoë 🚦"), *natives.RESPONSES.closing]
    errors = [b"".join([*natives.RESPONSES.opening, event]) for event in natives.RESPONSES.errors.values()]
    return [b"".join(stream), natives.RESPONSES.body("Hi"), *errors, *_of_api("-responses")]


KINDS = {
    kind.name: kind
    for kind in (
        Kind("openai", _openai, _openai_seeds),
        Kind("anthropic", _translating(AnthropicDialect, "anthropic"), _anthropic_seeds, translated=True),
        Kind("gemini", _translating(GeminiDialect, "gemini", n=2), _gemini_seeds, translated=True),
        Kind("passed", _passed, _passed_seeds),
        Kind("embeddings", _embeddings, _embedding_seeds),
        Kind("native messages", _native("messages"), _anthropic_seeds),
        Kind("native responses", _native("responses"), _response_seeds),
        Kind("native generate", _native("generate"), _gemini_seeds),
    )
}


# Mutations


def mutated(data: bytes, others: list[bytes], rng: Random) -> bytes:
    """An answer changed in a few places, as bytes or inside its JSON."""
    for _ in range(rng.choice([0, 1, 1, 2, 3, 6])):
        data = rng.choice((_bytes, _bytes, _json, _json, _events))(data, others, rng)
    return data


def _bytes(data: bytes, others: list[bytes], rng: Random) -> bytes:
    at = rng.randint(0, len(data))
    to = min(len(data), at + rng.choice([1, 2, 8, 60, 400]))
    match rng.randrange(6):
        case 0:
            return data[:at] + data[to:]
        case 1:
            return data[:at] + rng.choice(_TOKENS) + data[at:]
        case 2:
            return data[:at] + rng.choice(_TOKENS) + data[to:]
        case 3:
            return data[:to] + data[at:]  # a stretch twice
        case 4:
            return data[:at]
        case _:
            other = rng.choice(others)
            return data[:at] + other[rng.randint(0, len(other)) :]


def _events(data: bytes, others: list[bytes], rng: Random) -> bytes:
    """Events dropped, doubled, exchanged or borrowed."""
    events = _split(data)
    at, to = rng.randrange(len(events)), rng.randrange(len(events))
    match rng.randrange(4):
        case 0:
            del events[at]
        case 1:
            events.insert(to, events[at])
        case 2:
            events[at], events[to] = events[to], events[at]
        case _:
            events.insert(at, rng.choice(_split(rng.choice(others))))
    return b"".join(events)


def _split(data: bytes) -> list[bytes]:
    """Events, each with the empty line that ends it."""
    found = _END.split(data)
    events = [text + end for text, end in zip(found[::2], [*found[1::2], b""], strict=True)]
    return [event for event in events if event] or [b"\n\n"]


def _json(data: bytes, others: list[bytes], rng: Random) -> bytes:
    """One value somewhere in one event, or in the whole, replaced, removed or renamed."""
    events = _split(data)
    at = rng.randrange(len(events))
    raw = data_of(events[at]) or events[at]
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return data
    changed = json.dumps(_changed(value, rng), ensure_ascii=bool(rng.randrange(2))).encode("utf-8", "surrogatepass")
    events[at] = events[at].replace(raw, changed)
    return b"".join(events)


def _changed(value: Any, rng: Random) -> Any:
    holders = [holder for holder in _nodes(value) if holder]
    if not holders:
        return rng.choice(_VALUES)
    holder = rng.choice(holders)
    place: Any = rng.choice(list(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
    match rng.randrange(5):
        case 0:
            del holder[place]
        case 1 if isinstance(holder, dict):
            holder[rng.choice(["type", "index", "text", "error", "delta", "name", "id"])] = holder.pop(place)
        case 2:
            holder[place] = [holder[place]]
        case _:
            holder[place] = rng.choice(_VALUES)
    return value


def _nodes(value: Any) -> Iterator[Any]:
    if isinstance(value, (dict, list)):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _nodes(inner)


# Cases


def run(kind: Kind, seeds: list[bytes], seed: int, number: int) -> Outcome:
    """One case. Whatever a decoder raises that is no `UpstreamFailure` is raised."""
    rng = Random(f"{kind.name}/{seed}/{number}")
    data = mutated(rng.choice(seeds), seeds, rng)
    stream = not data.lstrip().startswith(b"{")
    decoder = kind.decoder(rng, stream if rng.randrange(10) else not stream)
    out = b""
    try:
        for piece in _cut(data, rng):
            out += decoder.feed(piece)
        out += decoder.finish()
        ended = "told" if decoder.fault else "whole"
    except UpstreamFailure as failure:
        ended = "failed"
        if failure.partial and not decoder.committed:
            return Outcome(ended, "a failure before the commit point gives the client something")
        str(failure.verdict)
        out += failure.partial
    _ = (decoder.complete, decoder.closed, decoder.usage)
    if ended == "whole" and not (decoder.complete and decoder.committed):
        return Outcome(ended, "an answer without a fault is not complete")
    return Outcome(ended, _form(out, ended) if kind.translated and out else None)


def _cut(data: bytes, rng: Random) -> Iterator[bytes]:
    if rng.randrange(3) == 0:
        yield data
        return
    size, at = rng.choice([1, 5, 40, 1000]), 0
    while at < len(data):
        step = rng.randint(1, size) if len(data) / size < 2000 else len(data)
        yield data[at : at + step]
        at += step


def _form(out: bytes, ended: str) -> str | None:
    """What is wrong with the form of an answer of ours."""
    if out.startswith(b"{"):
        whole = json.loads(out)
        return None if ended == "whole" and whole["choices"] else "half a JSON answer"
    if not out.endswith(b"\n\n"):
        return "half an event"
    events = [item.removeprefix("data: ") for item in out.decode().split("\n\n")[:-1]]
    values = [json.loads(item) for item in events if item != "[DONE]"]
    chunks = [value for value in values if "error" not in value]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    roles = [choice["index"] for choice in choices if "role" in choice["delta"]]
    open_ = {choice["index"] for choice in choices} - {choice["index"] for choice in choices if choice["finish_reason"]}
    if len(roles) != len(set(roles)):
        return "a role twice"
    if len({(chunk["id"], chunk["created"]) for chunk in chunks}) > 1:
        return "two ids"
    if (events[-1] == "[DONE]") is not (ended == "whole") and ended != "failed":
        return f"[DONE] does not tell how it ended: {ended}"
    return "a choice without a finish" if ended == "whole" and open_ else None


def cases(kind: Kind, seed: int, count: int) -> list[str]:
    """Run so many cases; the faults found, each with its case."""
    seeds, found = kind.seeds(), []
    for number in range(count):
        try:
            fault = run(kind, seeds, seed, number).fault
        except Exception as exc:  # whatever it is, it is what we look for
            fault = f"{type(exc).__name__}: {exc}"
        if fault:
            found.append(f"{kind.name} {seed}:{number}: {fault}")
    return found


def _fuzz(kind: Kind, seed: int, seconds: float) -> bool:
    """Fuzz for so long, and say what came of it; whether nothing was found."""
    clock, seeds = SystemClock(), kind.seeds()
    end, number = clock.monotonic() + seconds, 0
    ended = {"whole": 0, "told": 0, "failed": 0}
    faults: dict[str, int] = {}
    while clock.monotonic() < end:
        try:
            outcome = run(kind, seeds, seed, number)
            ended[outcome.ended] += 1
            fault = outcome.fault
        except Exception as exc:  # whatever it is, it is what we look for
            fault = f"{type(exc).__name__}: {exc}"
        if fault:
            faults.setdefault(fault, number)
        number += 1
    told = ", ".join(f"{count} {word}" for word, count in ended.items())
    sys.stdout.write(f"{kind.name}: {number} cases of {len(seeds)} answers: {told}; {len(faults)} faults\n")
    for fault, first in faults.items():
        sys.stdout.write(f"  --only {kind.name} --case {seed}:{first}  {fault[:200]}\n")
    return not faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each kind of decoder")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=KINDS, action="append")
    parser.add_argument("--case", help="SEED:NUMBER of one case to run again")
    asked = parser.parse_args()
    kinds = [KINDS[name] for name in asked.only or KINDS]
    if asked.case is None:
        return sum(not _fuzz(kind, asked.seed, asked.seconds) for kind in kinds)
    seed, number = map(int, asked.case.split(":"))
    for kind in kinds:
        try:
            sys.stdout.write(f"{kind.name}: {run(kind, kind.seeds(), seed, number)}\n")
        except Exception:  # to be shown
            traceback.print_exc()
    return 0


if __name__ == "__main__":
    sys.exit(main())
