from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.surfaces.responses.choice import Choice, read_choice
from proxy.surfaces.responses.tools import read_tools

TOOLS = [
    {"type": "function", "name": "f"},
    {"type": "custom", "name": "g"},
    {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "h"}]},
    {"type": "web_search"},
]


def read(choice: Any, tools: Any = TOOLS) -> Choice:
    return read_choice(choice, read_tools(tools))


def names(choice: Choice) -> list[str]:
    return [tool["function"]["name"] for tool in choice.tools]


@pytest.mark.parametrize("word", ["auto", "none", "required"])
def test_word_stays(word: str) -> None:
    assert read(word).choice == read({"type": word}).choice == word
    assert names(read(word)) == ["f", "g", "n__h"]


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        ({"type": "function", "name": "f"}, "f"),
        ({"type": "custom", "name": "g"}, "g"),
        ({"type": "function", "name": "h", "namespace": "n"}, "n__h"),
        ({"type": "function", "function": {"name": "f"}}, "f"),
    ],
)
def test_tool_is_forced(choice: Any, name: str) -> None:
    assert read(choice).choice == {"type": "function", "function": {"name": name}}


@pytest.mark.parametrize("nested", [False, True])
def test_allowed_tools_are_the_only_ones(nested: bool) -> None:
    allowed = {"mode": "required", "tools": [{"type": "function", "name": "f"}, {"type": "web_search"}]}

    choice = read(
        {"type": "allowed_tools", "allowed_tools": allowed} if nested else {"type": "allowed_tools", **allowed}
    )

    assert names(choice) == ["f"]
    assert choice.choice == "required"


def test_no_allowed_tools_leave_none() -> None:
    choice = read({"type": "allowed_tools", "mode": "auto", "tools": []})

    assert choice.members(True) == {}


def test_members_of_a_chat() -> None:
    choice = read("auto", TOOLS[:1])

    tools = [{"type": "function", "function": {"name": "f"}}]
    assert choice.members(None) == {"tools": tools, "tool_choice": "auto"}
    assert choice.members(False) == {"tools": tools, "tool_choice": "auto", "parallel_tool_calls": False}
    assert read(None, TOOLS[:1]).members(None) == {"tools": tools}
    assert read("auto", TOOLS[3:]).members(True) == {}


@pytest.mark.parametrize(
    ("choice", "tools"),
    [
        ({"type": "web_search"}, TOOLS[:3]),
        ({"type": "mcp", "server_label": "s"}, TOOLS),
        ("required", [{"type": "mcp", "server_label": "s"}]),
        ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "mcp"}]}, TOOLS),
        ({"type": "allowed_tools", "mode": "required", "tools": []}, TOOLS),
    ],
)
def test_forced_hosted_tool_is_refused(choice: Any, tools: Any) -> None:
    refused = read(choice, tools).refused

    assert refused is not None
    assert refused.param == "tool_choice"


@pytest.mark.parametrize(
    ("choice", "tools"),
    [
        ({"type": "web_search"}, TOOLS),
        ({"type": "web_search_2025_08_26"}, TOOLS[3:]),
        ("required", TOOLS[3:]),
        ("required", [{"type": "mcp", "server_label": "s"}, *TOOLS[3:]]),
        ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "web_search"}]}, TOOLS),
    ],
)
def test_forced_search_needs_a_target_that_has_one(choice: Any, tools: Any) -> None:
    found = read(choice, tools)

    assert found.refused is None
    assert found.forced is not None
    assert found.forced.param == "tool_choice"
    assert found.searches


@pytest.mark.parametrize(
    ("choice", "searches"),
    [
        (None, True),
        ("auto", True),
        ("none", False),
        ({"type": "function", "name": "f"}, True),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}, False),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "web_search"}]}, True),
    ],
)
def test_choice_says_whether_a_search_may_be_made(choice: Any, searches: bool) -> None:
    assert read(choice).searches is searches


@pytest.mark.parametrize(
    ("choice", "param"),
    [
        ("any", "tool_choice"),
        ({}, "tool_choice.type"),
        ({"type": "function", "name": "x"}, "tool_choice"),
        ({"type": "function", "name": 5}, "tool_choice"),
        ({"type": "tool_search"}, "tool_choice"),
        ({"type": "allowed_tools"}, "tool_choice.tools"),
        ({"type": "allowed_tools", "tools": [5]}, "tool_choice.tools"),
        ({"type": "allowed_tools", "tools": [], "mode": "x"}, "tool_choice.mode"),
        ({"type": "allowed_tools", "tools": [{"type": "function", "name": "x"}]}, "tool_choice.tools[0]"),
    ],
)
def test_malformed_choice_is_named(choice: Any, param: str) -> None:
    with pytest.raises(InvalidRequest, match="must") as caught:
        read(choice)

    assert caught.value.param == param


def test_required_needs_tools() -> None:
    with pytest.raises(InvalidRequest, match="there are no `tools`"):
        read("required", [])
