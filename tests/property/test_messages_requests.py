"""Any body of the Messages API is read, or refused with an error that names a member."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import InvalidRequest
from proxy.core.plan import Target
from proxy.core.principal import UNKNOWN_CALLER
from proxy.dialects.openai.dialect import OpenAIDialect
from proxy.surfaces.messages.surface import MESSAGES
from tests.support.calls import deployment, snapshot
from tests.support.exchanges import FOLDER, read

SNAPSHOT = snapshot()
WORDS = st.sampled_from(
    [
        *("text", "image", "document", "tool_use", "tool_result", "thinking", "redacted_thinking", "search_result"),
        *(
            "base64",
            "url",
            "file",
            "content",
            "custom",
            "web_search_20250305",
            "auto",
            "any",
            "tool",
            "none",
            "enabled",
        ),
        *("adaptive", "user", "assistant", "system", "json_schema", "ephemeral", "sbx1.AAAA", "\ud800", "get", ""),
    ]
)
NAMES = st.sampled_from(
    [
        *("type", "text", "source", "content", "id", "name", "input", "tool_use_id", "data", "media_type", "url"),
        *("signature", "is_error", "title", "cache_control", "role", "effort", "format", "schema", "budget_tokens"),
        *("user_id", "input_schema", "strict", "description", "disable_parallel_tool_use", "allowed_domains"),
    ]
)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 10**20), st.floats(allow_nan=False, allow_infinity=False), WORDS
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=5)),
    max_leaves=15,
)
BLOCKS = st.dictionaries(NAMES, VALUES, max_size=5).flatmap(
    lambda block: WORDS.map(lambda kind: {**block, "type": kind})
)
MESSAGE_LISTS = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["user", "assistant", "system"]),
            "content": st.one_of(WORDS, st.lists(BLOCKS, max_size=3)),
        }
    ),
    min_size=1,
    max_size=4,
)
BODIES = st.fixed_dictionaries(
    {
        "model": st.just("auto"),
        "max_tokens": st.one_of(st.just(9), VALUES),
        "messages": st.one_of(MESSAGE_LISTS, VALUES),
    },
    optional={
        **dict.fromkeys(("system", "tools", "tool_choice", "thinking", "output_config", "metadata"), VALUES),
        **dict.fromkeys(("stop_sequences", "stream", "temperature", "router", "cache_control"), VALUES),
    },
)


def sent(body: Any, path: str = "/v1/messages") -> tuple[Any, dict[str, Any]]:
    """The call of a body, and what a chat upstream gets."""
    call = MESSAGES.read(
        json.dumps(body).encode(),
        {},
        id="req_1",
        request_id="theirs",
        snapshot=SNAPSHOT,
        principal=UNKNOWN_CALLER,
        path=path,
    )
    return call, json.loads(OpenAIDialect().request(call, Target(deployment()), None).content)


@given(BODIES)
def test_any_body_is_read_or_refused(body: dict[str, Any]) -> None:
    try:
        call, chat = sent(body)
    except InvalidRequest as error:
        refused = error
    else:
        refused = None
    if refused is not None:
        assert refused.param or "number" in str(refused)
        return

    assert chat["messages"]
    assert all(message["role"] in ("system", "user", "assistant", "tool") for message in chat["messages"])
    assert json.loads(call.native.raw)["messages"] == json.loads(json.dumps(body["messages"]))


@pytest.mark.skipif(not FOLDER.is_dir(), reason="there are no recordings")
def test_recorded_requests_keep_their_texts_and_calls() -> None:
    for exchange in read(FOLDER / "anthropic-messages.jsonl"):
        body = exchange["request"]["body"]
        call, chat = sent(body)

        wanted = [block for message in body["messages"] for block in _blocks(message["content"])]
        calls = [made for message in chat["messages"] for made in message.get("tool_calls") or ()]
        assert [(made["id"], json.loads(made["function"]["arguments"])) for made in calls] == [
            (block["id"], block["input"]) for block in wanted if block["type"] == "tool_use"
        ]
        results = [message["tool_call_id"] for message in chat["messages"] if message["role"] == "tool"]
        assert results == [block["tool_use_id"] for block in wanted if block["type"] == "tool_result"]
        told = json.dumps(chat["messages"])
        missing = [block for block in wanted if block["type"] == "text" and json.dumps(block["text"])[1:-1] not in told]
        assert missing == []
        assert json.loads(call.native.raw) == body


def _blocks(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
