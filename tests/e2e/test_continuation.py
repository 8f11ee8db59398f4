"""Streams that break off and are gone on with, as the OpenAI SDK and the upstreams of each API see it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support import upstreams
from tests.support.natives import ANTHROPIC, GEMINI, OPENAI, NativeUpstream, WireFormat
from tests.support.servers import signalbox
from tests.support.upstreams import DONE, Script, Wire, held, running, stream
from tests.support.waiting import PATIENCE

MESSAGES: Any = [{"role": "user", "content": "Say the words."}]
WIRE_FORMATS = {"openai": OPENAI, "anthropic": ANTHROPIC, "gemini": GEMINI}
HALF, REST = "one two ", "three four."
TEXT = HALF + REST
TOOLS: Any = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]


@pytest.fixture
def upstream() -> Iterator[NativeUpstream]:
    with running(NativeUpstream()) as found:
        found.keeps = False  # else the transport may send again what a kept connection lost
        yield found


@contextmanager
def client(
    upstream: NativeUpstream,
    folder: Path,
    first: str = "openai",
    second: str = "openai",
    *,
    idle: str = "1h",
    **resilience: Any,
) -> Iterator[openai.OpenAI]:
    """The SDK before a scenario of `first/begins` and `second/ends`, the latter one that takes up what was begun."""
    price = {"input": 1, "output": 2}
    config = {
        "store": "none",
        "data_dir": str(folder / "data"),
        "providers": {
            name: {"dialect": name, "base_url": upstream.url + ("/v1" if name == "openai" else "")}
            for name in {first, second}
        },
        "models": [
            {"id": f"{first}/begins", "timeouts": {"idle": idle, "total": "1h"}, "price": price},
            {"id": f"{second}/ends", "capabilities": ["prefill"], "price": price},
        ],
        "routing": {"scenarios": {"both": [f"{first}/begins", f"{second}/ends"]}},
        "resilience": {"mid_stream": "continue", **resilience},
    }
    with (
        signalbox(config, folder) as running,
        openai.OpenAI(base_url=f"{running.url}/v1", api_key="sb-client", max_retries=0, timeout=PATIENCE) as found,
    ):
        yield found


def broken(wire_format: WireFormat, how: str = "reset", text: str = HALF) -> Script:
    """The beginning of an answer, and what ends it too early."""
    faults: dict[str, tuple[list[bytes], Script]] = {
        "reset": ([], Wire.reset),
        "end": ([], Wire.end),
        "stall": ([], Wire.stall),
        "error event": ([wire_format.errors["error"]], Wire.end),
        "no JSON": ([b"data: {no JSON" + wire_format.end.encode()], Wire.end),
    }
    last, then = faults[how]
    return stream([*wire_format.opening, *[wire_format.text(word + " ") for word in text.split()], *last], then)


def whole(wire_format: WireFormat, text: str = REST) -> Script:
    """The right end of it."""
    return stream([*wire_format.opening, wire_format.text(text[:4]), wire_format.text(text[4:]), *wire_format.closing])


def streamed(sdk: openai.OpenAI, seen: list[Any], **more: Any) -> None:
    """Ask; every chunk goes into `seen` as it comes."""
    for part in sdk.chat.completions.create(model="scenario/both", messages=MESSAGES, stream=True, **more):
        seen.append(part)  # noqa: PERF402, what came before an error counts too


def text_of(chunks: list[Any]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def finishes(chunks: list[Any]) -> list[str]:
    return [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]


@pytest.mark.parametrize("how", ["reset", "end", "stall", "error event", "no JSON"])
@pytest.mark.parametrize("second", WIRE_FORMATS)
@pytest.mark.parametrize("first", WIRE_FORMATS)
def test_the_sdk_sees_one_answer_across_a_continuation(
    upstream: NativeUpstream, tmp_path: Path, access_log: Any, first: str, second: str, how: str
) -> None:
    upstream.script("begins", broken(WIRE_FORMATS[first], how))
    upstream.script("ends", whole(WIRE_FORMATS[second]))
    chunks: list[Any] = []

    with client(upstream, tmp_path, first, second, idle="250ms" if how == "stall" else "1h") as sdk:
        streamed(sdk, chunks)

    assert text_of(chunks) == TEXT
    assert finishes(chunks) == ["stop"]
    assert [choice.delta.role for chunk in chunks for choice in chunk.choices].count("assistant") == 1
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    who = {"provider": second, "model": "ends", "after_characters": len(HALF)}
    assert chunks[-1].router == {"continued": who}
    line = access_log.next()
    assert (line["outcome"], line["status"], line["code"]) == ("ok", 200, None)
    assert [(attempt["model"], attempt["outcome"]) for attempt in line["attempts"]] == [
        ("begins", "broken_stream"),
        ("ends", "ok"),
    ]
    assert (line["provider"], line["continued_after"]) == (second, len(HALF))
    assert upstream.models == ["begins", "ends"]


def test_each_api_gets_the_beginning_in_its_own_way(upstream: NativeUpstream, tmp_path: Path) -> None:
    upstream.script("begins", broken(OPENAI))
    begun = []

    for number, (name, wire_format) in enumerate(WIRE_FORMATS.items()):
        upstream.script("ends", whole(wire_format))
        folder = tmp_path / str(number)
        folder.mkdir()
        with client(upstream, folder, "openai", name) as sdk:
            streamed(sdk, [], max_tokens=100)
        begun.append(upstream.requests[-1].json)

    to_openai, to_anthropic, to_gemini = begun
    assert to_openai["messages"][1:] == [{"role": "assistant", "content": HALF.strip()}]
    assert to_anthropic["messages"][1:] == [{"role": "assistant", "content": HALF.strip()}]
    assert to_gemini["contents"][1:] == [{"role": "model", "parts": [{"text": HALF.strip()}]}]
    assert to_openai["max_tokens"] == to_anthropic["max_tokens"] == 98
    assert to_gemini["generationConfig"]["maxOutputTokens"] == 98


def test_usage_and_cost_are_of_both_parts(upstream: NativeUpstream, tmp_path: Path, access_log: Any) -> None:
    usage = {"prompt_tokens": 20, "completion_tokens": 4, "total_tokens": 24}
    upstream.script("begins", broken(ANTHROPIC))
    end = [*OPENAI.opening, OPENAI.text(REST), upstreams.FINISH, upstreams.chunk(usage=usage), DONE]
    upstream.script("ends", stream(end))
    chunks: list[Any] = []

    with client(upstream, tmp_path, "anthropic", "openai") as sdk:
        streamed(sdk, chunks, stream_options={"include_usage": True})

    [told] = [chunk.usage for chunk in chunks if chunk.usage]
    assert (told.prompt_tokens, told.completion_tokens) == (7 + 20, 2 + 4)  # 7 as Anthropic has told at the beginning
    assert chunks[-2].usage == told
    assert access_log.next()["cost_usd"] == pytest.approx((27 * 1 + 6 * 2) / 1e6)


def test_the_decision_record_tells_of_it(upstream: NativeUpstream, tmp_path: Path) -> None:
    upstream.script("begins", broken(OPENAI))
    upstream.script("ends", whole(OPENAI))
    chunks: list[Any] = []

    with client(upstream, tmp_path) as sdk:
        streamed(sdk, chunks, extra_body={"router": {"debug": True}})

    decision = chunks[-1].router
    assert decision["continued"] == chunks[-2].router["continued"]
    assert [attempt["outcome"] for attempt in decision["attempts"]] == ["broken_stream", "ok"]


@pytest.mark.parametrize("first", WIRE_FORMATS)
@pytest.mark.parametrize("how", ["reset", "error event"])
def test_a_call_with_tools_ends_with_an_error(
    upstream: NativeUpstream, tmp_path: Path, access_log: Any, first: str, how: str
) -> None:
    upstream.script("begins", broken(WIRE_FORMATS[first], how))
    chunks: list[Any] = []

    with client(upstream, tmp_path, first) as sdk, pytest.raises(openai.APIError):
        streamed(sdk, chunks, tools=TOOLS)

    assert text_of(chunks) == HALF
    assert finishes(chunks) == []
    line = access_log.next()
    assert (line["outcome"], "continued_after" in line) == ("partial", False)
    assert upstream.models == ["begins"]


@pytest.mark.parametrize("second", WIRE_FORMATS)
@pytest.mark.parametrize("how", ["reset", "error event"])
def test_a_rest_that_breaks_off_too_ends_with_an_error(
    upstream: NativeUpstream, tmp_path: Path, access_log: Any, second: str, how: str
) -> None:
    upstream.script("begins", broken(OPENAI))
    upstream.script("ends", broken(WIRE_FORMATS[second], how, "three"))
    chunks: list[Any] = []

    with client(upstream, tmp_path, "openai", second) as sdk, pytest.raises(openai.APIError):
        streamed(sdk, chunks)

    assert text_of(chunks) == HALF + "three "
    assert finishes(chunks) == []
    line = access_log.next()
    assert (line["outcome"], line["continued_after"]) == ("partial", len(HALF))
    assert [attempt["outcome"] for attempt in line["attempts"]] == ["broken_stream", "broken_stream"]


def test_the_fault_is_told_if_nobody_begins_the_rest(upstream: NativeUpstream, tmp_path: Path, access_log: Any) -> None:
    upstream.script("begins", broken(OPENAI, "error event"))
    upstream.script("ends", upstreams.refuse(400))
    chunks: list[Any] = []

    with client(upstream, tmp_path) as sdk, pytest.raises(openai.APIError, match="injected in the stream"):
        streamed(sdk, chunks)

    assert text_of(chunks) == HALF
    line = access_log.next()
    assert (line["outcome"], line["provider"], line["upstream_model"]) == ("partial", "openai", "begins")


def test_nothing_is_gone_on_with_by_default(upstream: NativeUpstream, tmp_path: Path) -> None:
    upstream.script("begins", broken(OPENAI))

    with client(upstream, tmp_path, mid_stream="terminate") as sdk, pytest.raises(openai.APIError):
        streamed(sdk, [])

    assert upstream.models == ["begins"]


@pytest.mark.parametrize("ready", [True, False], ids=["while the rest comes", "before it begins"])
def test_a_client_who_leaves_ends_the_second_request_too(
    upstream: NativeUpstream, tmp_path: Path, access_log: Any, *, ready: bool
) -> None:
    upstream.script("begins", broken(OPENAI))
    upstream.script("ends", held([*OPENAI.opening, OPENAI.text(REST[:5])] if ready else [], []))
    seen = ""

    with client(upstream, tmp_path) as sdk:
        answer = sdk.chat.completions.create(model="scenario/both", messages=MESSAGES, stream=True)
        wanted = HALF + (REST[:5] if ready else "")
        while seen != wanted:
            seen += text_of([next(answer)])
        second = [upstream.next(), upstream.next()][-1]
        answer.close()
        second.left()
        line = access_log.next()

    assert second.model == "ends"
    assert (line["outcome"], line["status"]) == ("client_closed", 499)
    assert [attempt["outcome"] for attempt in line["attempts"]] == ["broken_stream", "cancelled"]
