"""Histories as clients send them, over real sockets: what the upstream gets of them, turn by turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.test_translated import HELLO, MODELS, complete, configuration, native_answer
from tests.support.natives import PIXEL, NativeUpstream
from tests.support.servers import Running, signalbox

THOUGHTS = [{"type": "thinking", "thinking": f"secret {number}", "signature": f"c2ln{number}"} for number in (1, 2)]
USES = [
    {"type": "tool_use", "id": f"read_file_{number}", "name": "read_file", "input": {"n": number}} for number in (1, 2)
]
SEARCH = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "rain"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
BLOCKS = [THOUGHTS[0], SEARCH, FOUND, {"type": "text", "text": "So."}, USES[0], THOUGHTS[1], USES[1]]
IMAGE = {"inlineData": {"mimeType": "image/gif", "data": PIXEL}}
PARTS = [
    {"text": "Before ", "thoughtSignature": "czE="},
    {**IMAGE, "thoughtSignature": "czI="},
    {"executableCode": {"language": "PYTHON", "code": "1"}, "thoughtSignature": "czM="},
    {"text": "after."},
    {"functionCall": {"name": "read_file", "args": {"n": 1}, "id": "read_file_1"}, "thoughtSignature": "czQ="},
    {"functionCall": {"name": "read_file", "args": {"n": 2}, "id": "read_file_2"}},
]
ANSWERS = {"anthropic": BLOCKS, "gemini": PARTS}
each_dialect = pytest.mark.parametrize("dialect", MODELS)
each_form = pytest.mark.parametrize("streams", [True, False], ids=["stream", "plain"])


@pytest.fixture(scope="module")
def box(module_natives: NativeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with signalbox(configuration(module_natives.url), tmp_path_factory.mktemp("box")) as running:
        yield running


@pytest.fixture
def upstream(module_natives: NativeUpstream) -> NativeUpstream:
    module_natives.clear()
    return module_natives


def results(message: Any) -> list[Any]:
    return [{"role": "tool", "tool_call_id": each.id, "content": "ok"} for each in message.tool_calls]


def model_turn(upstream: NativeUpstream, dialect: str) -> Any:
    """The assistant's turn in the last request."""
    body = upstream.requests[-1].json
    return body["messages"][1]["content"] if dialect == "anthropic" else body["contents"][1]["parts"]


@each_dialect
@each_form
@pytest.mark.parametrize("nulls", [True, False], ids=["nulls", "no nulls"])
def test_an_echoed_answer_goes_back_whole_and_in_place(
    sdk: openai.OpenAI, upstream: NativeUpstream, dialect: str, *, streams: bool, nulls: bool
) -> None:
    model = MODELS[dialect]
    upstream.script(model.partition("/")[2], native_answer(dialect, *ANSWERS[dialect]))

    answer = complete(sdk, streams, model=model, messages=HELLO).choices[0].message
    echo = answer.model_dump(exclude_none=not nulls)
    complete(sdk, False, model=model, messages=[*HELLO, echo, *results(answer)])

    assert model_turn(upstream, dialect) == ANSWERS[dialect]


@each_dialect
@each_form
def test_no_caller_gets_what_another_callers_answer_had(
    sdk: openai.OpenAI, box: Running, upstream: NativeUpstream, dialect: str, *, streams: bool
) -> None:
    model = MODELS[dialect]
    upstream.script(model.partition("/")[2], native_answer(dialect, *ANSWERS[dialect]))
    answer = complete(sdk, streams, model=model, messages=HELLO).choices[0].message
    calls = [{"id": each.id, "type": "function", "function": each.function.model_dump()} for each in answer.tool_calls]
    turn = {"role": "assistant", "content": None, "tool_calls": calls}

    with openai.OpenAI(base_url=f"{box.url}/v1", api_key="another-caller", max_retries=0) as other:
        complete(other, False, model=model, messages=[*HELLO, turn, *results(answer)])
        of_another = upstream.requests[-1].body
        complete(sdk, False, model=model, messages=[{"role": "user", "content": "Else"}, turn, *results(answer)])
        of_another_conversation = upstream.requests[-1].body
        complete(sdk, False, model=model, messages=[*HELLO, turn, *results(answer)])

    for content in (of_another, of_another_conversation):
        assert b"secret" not in content
        assert b"c2ln" not in content
        assert b"czQ=" not in content
    assert b"c2ln1" in upstream.requests[-1].body or b"czQ=" in upstream.requests[-1].body


@each_dialect
def test_foreign_history_is_answered_and_drops_are_reported(
    http: httpx.Client, box: Running, upstream: NativeUpstream, dialect: str
) -> None:
    mistral = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "Hi."}]
    messages = [{"role": "assistant", "content": mistral, "reasoning": "hm"}, *HELLO]

    answer = http.post(f"{box.url}/v1/chat/completions", json={"model": MODELS[dialect], "messages": messages})

    assert answer.status_code == 200
    assert answer.headers["x-router-dropped"] == "messages.content.thinking,messages.reasoning"
    assert upstream.requests[-1].body.count(b"(no content)") == 1
