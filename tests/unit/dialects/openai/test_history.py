"""Members of messages that a target does not take: cut from the bytes, and named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.core.plan import Target
from proxy.core.wire import UpstreamRequest
from proxy.dialects.openai.dialect import OpenAIDialect
from tests.support.calls import call, deployment, provider

GROQ = ("messages.reasoning_content",)
DEEPSEEK = ("messages.developer",)
DETAIL = {"index": 0, "type": "reasoning.text", "text": "Hm", "signature": "s", "format": "anthropic-claude-v1"}
SEALED = {"index": 0, "type": "reasoning.encrypted", "data": "x", "format": "anthropic-claude-v1"}
THEIRS = {"type": "reasoning.text", "text": "Hm", "format": "anthropic-claude-v1", "index": 0, "signature": "s"}
DETAILS = json.dumps([DETAIL])
EXTRA = '{"google":{"thought_signature":"c2ln"}}'
IMAGES = '[{"type":"image_url","index":0,"image_url":{"url":"data:image/png;base64,AAAA"}}]'
PARTS = '[{"executableCode":{"code":"1"},"index":0}]'


def request(
    messages: str, unsupported: tuple[str, ...] = (), base_url: str = "https://acme.test/v1"
) -> UpstreamRequest:
    raw = f'{{ "model":"m",  "messages": {messages} , "temperature": 1.0e0}}'.encode()
    of = deployment("m", provider(base_url=base_url), unsupported=frozenset(unsupported))
    return OpenAIDialect().request(call(raw), Target(of), None)


def sent(messages: str, unsupported: tuple[str, ...] = (), **more: Any) -> tuple[str, tuple[str, ...]]:
    """The messages as they go out, and what is named as dropped."""
    made = request(messages, unsupported, **more)
    text = made.content.decode()
    head, tail = '{ "model":"m",  "messages": ', ' , "temperature": 1.0e0}'
    assert text.startswith(head)
    assert text.endswith(tail)
    return text[len(head) : -len(tail)], made.dropped


SAID = '{"role": "assistant",  "content": "caf\u00e9 \\u00e9 🙂"%s}'
ASKED = '{"role":"user","content":"H\\u0069 ü"}'


@pytest.mark.parametrize(
    ("member", "name"),
    [
        (f'"reasoning_details":{DETAILS}', "reasoning_details"),
        (f'"reasoning\\u005fdetails" : {DETAILS}', "reasoning_details"),
        (f'"reasoning_details":[{json.dumps(SEALED)}]', "reasoning_details"),
        (f'"reasoning_details":[{json.dumps(SEALED, sort_keys=True)},{json.dumps(DETAIL)}]', "reasoning_details"),
        ('"reasoning_details":[{"type":"reasoning.encrypted","data":"signalbox.blocks.v1:[]"}]', "reasoning_details"),
        (f'"extra_content":{EXTRA}', "extra_content"),
        (f'"google_parts":{PARTS}', "google_parts"),
        (f'"images":{IMAGES}', "images"),
    ],
)
def test_a_member_that_signalbox_made_is_cut_out_again(member: str, name: str) -> None:
    messages = f"[ {ASKED},\n {SAID % (',  ' + member)} ,{ASKED} ]"

    assert sent(messages) == (f"[ {ASKED},\n {SAID % ''} ,{ASKED} ]", (f"messages.{name}",))


@pytest.mark.parametrize("place", range(3))
def test_other_members_keep_their_bytes(place: int) -> None:
    members = ['"role" : "assistant"', '"content":"a"', '"n": 1.50']
    bare = "{ " + " , ".join(members) + " }"
    members.insert(place, f'"images":{IMAGES}')

    out, _ = sent(f"[{ASKED},{{ {' , '.join(members)} }}]")

    assert json.loads(out) == json.loads(f"[{ASKED},{bare}]")
    assert '"n": 1.50' in out


def test_the_signature_of_a_call_is_cut_out_of_the_call() -> None:
    tool = '{"id":"a", "type":"function","function":{"name":"f","arguments":"{\\"x\\": 1}"}%s}'
    message = '[{"role":"assistant","content":null,"tool_calls":[ %s , %s ],"reasoning_content":"Hm"}]'

    out = sent(message % (tool % f', "extra_content":{EXTRA}', tool % ""))

    assert out == (message % (tool % "", tool % ""), ("messages.extra_content",))


def test_everything_at_once_is_named_once() -> None:
    more = f',"images":{IMAGES},"extra_content":{EXTRA},"reasoning_content":"Hm","reasoning_details":{DETAILS}'

    out, dropped = sent(f"[{SAID % more},{ASKED},{SAID % more}]", GROQ)

    assert out == f"[{SAID % ''},{ASKED},{SAID % ''}]"
    names = ("extra_content", "images", "reasoning_content", "reasoning_details")
    assert sorted(dropped) == [f"messages.{name}" for name in names]


@pytest.mark.parametrize(
    "member",
    [
        '"reasoning_content":"Hm"',
        '"reasoning":"Hm"',
        '"images":["a"]',
        '"images":null',
        '"reasoning_details":[]',
        f'"reasoning_details":[{json.dumps(THEIRS)}]',
        '"reasoning_details":[{"type":"reasoning.text","text":"Hm","signature":"s"}]',
        '"reasoning_details":[{"id":"r1","type":"reasoning.text","text":"Hm"}]',
        '"reasoning_details":[{"type":"reasoning.text","format":"openai-responses-v1"}]',
        '"extra_content":{"acme":1}',
        '"tool_calls":[{"id":"a"}, 7]',
        '"tool_calls":null',
    ],
)
def test_members_of_others_keep_their_bytes(member: str) -> None:
    messages = f"[{SAID % (', ' + member)},{ASKED}]"

    assert sent(messages) == (messages, ())


@pytest.mark.parametrize(
    "messages",
    [
        f"[{ASKED}]",
        f"[{SAID % ''}, {ASKED}]",
        '[{"role":"developer","content":"Hi"}]',
        '[{"role":"user","content":"Hi","images":' + IMAGES + "}]",
        '[{"role":"user","content":"\\"images\\": reasoning_details extra_content"}]',
    ],
)
def test_messages_without_such_members_keep_their_bytes(messages: str) -> None:
    assert sent(messages, GROQ) == (messages, ())


@pytest.mark.parametrize(
    ("base_url", "kept"),
    [
        ("https://openrouter.ai/api/v1", {"reasoning_details", "images"}),
        ("https://generativelanguage.googleapis.com/v1beta/openai", {"extra_content"}),
        ("https://acme.test/v1", set()),
    ],
)
def test_a_provider_keeps_the_members_that_are_its_own(base_url: str, kept: set[str]) -> None:
    more = f',"images":{IMAGES},"extra_content":{EXTRA},"reasoning_details":{DETAILS}'

    out, dropped = sent(f"[{SAID % more}]", base_url=base_url)

    assert json.loads(out)[0].keys() - {"role", "content"} == kept
    assert {name.removeprefix("messages.") for name in dropped} == {
        "images",
        "extra_content",
        "reasoning_details",
    } - kept


@pytest.mark.parametrize("value", ['"Hm"', '""', "null", "[1]"])
def test_what_the_model_refuses_in_messages_is_cut(value: str) -> None:
    said = SAID % (', "reasoning_content": ' + value)
    messages = f"[{ASKED},{said}]"

    assert sent(messages, GROQ) == (f"[{ASKED},{SAID % ''}]", ("messages.reasoning_content",))
    assert sent(messages) == (messages, ())


def test_any_member_of_messages_may_be_named() -> None:
    messages = '[{"role":"user","name":"Zoë","content":"Hi"}]'

    assert sent(messages, ("messages.name",)) == ('[{"role":"user","content":"Hi"}]', ("messages.name",))


@pytest.mark.parametrize("role", ['"developer"', '"developer"  ', '"d\\u0065veloper"'])
def test_a_developer_message_becomes_a_system_message(role: str) -> None:
    messages = f'[ {{ "role" : {role}, "content":"Hi"}}, {ASKED} ]'

    out, dropped = sent(messages, DEEPSEEK)

    assert out == messages.replace(role.strip(), '"system"')
    assert dropped == ("messages.developer",)


def test_a_member_that_is_there_twice_is_cut_twice() -> None:
    out, _ = sent('[{"role":"assistant","reasoning_content":"a","content":"x","reasoning_content":"b"}]', GROQ)

    assert json.loads(out) == [{"role": "assistant", "content": "x"}]


def test_a_call_may_lose_all_its_members() -> None:
    out, _ = sent('[{"role":"assistant","content":null,"tool_calls":[{"extra_content":' + EXTRA + "}]}]")

    assert json.loads(out)[0]["tool_calls"] == [{}]
