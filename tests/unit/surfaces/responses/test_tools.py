import pytest

from proxy.core.errors import InvalidRequest
from proxy.surfaces.responses.tools import Tool, chat_name, read_tools

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


def function(name: str, **members: object) -> dict[str, object]:
    return {"type": "function", "name": name, "parameters": SCHEMA, **members}


def test_function_keeps_its_members() -> None:
    tool = function("weather", description="The weather.", strict=True, output_schema={})

    table = read_tools([tool])

    expected = {"name": "weather", "description": "The weather.", "parameters": SCHEMA, "strict": True}
    assert list(table.chat.values()) == [{"type": "function", "function": expected}]
    assert table.of("weather") == Tool("function", "weather")


def test_custom_tool_is_a_function_of_one_string() -> None:
    form = {"type": "grammar", "syntax": "lark", "definition": "start: /a+/"}

    table = read_tools([{"type": "custom", "name": "patch", "description": "Edits.", "format": form}])

    made = table.chat["patch"]["function"]
    assert made["description"] == "Edits.\n\n`input` must match this Lark grammar:\nstart: /a+/"
    assert made["parameters"]["required"] == ["input"]
    assert table.of("patch") == Tool("custom", "patch")


def test_tools_of_a_namespace_return_with_it() -> None:
    inner = [function("close", description="Closes."), {"type": "custom", "name": "note"}]

    table = read_tools([{"type": "namespace", "name": "agents", "description": "For agents.", "tools": inner}])

    assert list(table.chat) == ["agents__close", "agents__note"]
    assert table.chat["agents__close"]["function"]["description"] == "Closes.\n\nTools named `agents__...`: For agents."
    assert table.of("agents__close") == Tool("function", "close", "agents")
    assert table.of("agents__note") == Tool("custom", "note", "agents")


def test_undeclared_tool_of_a_known_namespace_is_recognised() -> None:
    table = read_tools([{"type": "namespace", "name": "agents", "tools": [function("close")]}])

    assert table.of("agents__open") == Tool("function", "open", "agents")
    assert table.of("other__open") == Tool("function", "other__open")


def test_long_name_is_shortened_reversibly() -> None:
    namespace, name = "n" * 40, "t" * 40

    table = read_tools([{"type": "namespace", "name": namespace, "tools": [function(name)]}])

    (short,) = table.chat
    assert len(short) == 64
    assert short == chat_name(name, namespace) == table.chat_name(name, namespace)
    assert table.of(short) == Tool("function", name, namespace)


def test_name_of_another_tool_is_rejected() -> None:
    tools = [{"type": "namespace", "name": "a", "tools": [function("b")]}, function("a__b")]

    with pytest.raises(InvalidRequest, match="the name `a__b` is that of another tool") as caught:
        read_tools(tools)

    assert caught.value.param == "tools[1]"


def test_repeated_tool_replaces_the_first() -> None:
    table = read_tools([function("f", description="old")], [("input[1].tools", [function("f", description="new")])])

    assert table.chat["f"]["function"]["description"] == "new"


def test_deferred_tools_wait_for_the_clients_search() -> None:
    search = {"type": "tool_search", "execution": "client", "description": "Find.", "parameters": SCHEMA}
    tools = [search, function("weather", defer_loading=True), function("news")]

    before = read_tools(tools)
    after = read_tools(tools, [("input[2].tools", [function("weather", defer_loading=True)])])

    assert list(before.chat) == ["tool_search", "news"]
    assert before.of("tool_search") == Tool("tool_search", "tool_search")
    assert before.of("weather") == Tool("function", "weather")
    assert list(after.chat) == ["tool_search", "news", "weather"]


@pytest.mark.parametrize("search", [{"type": "tool_search"}, {"type": "tool_search", "execution": "server"}])
def test_search_by_the_server_loads_all_tools(search: dict[str, object]) -> None:
    table = read_tools([search, function("weather", defer_loading=True)])

    assert list(table.chat) == ["weather"]
    assert table.dropped == []


def test_hosted_tools_are_dropped_once_by_type() -> None:
    hosted = [{"type": "file_search"}, {"type": "file_search", "filters": None}, {"type": "mcp, x"}]

    table = read_tools([*hosted, function("f")])

    assert list(table.chat) == ["f"]
    assert table.dropped == ["tools.file_search", "tools.mcpx"]


def test_web_search_is_for_providers_that_have_one() -> None:
    search = {"type": "web_search_preview", "user_location": None}

    table = read_tools([search, {"type": "web_search", "external_web_access": False}])

    assert table.searches == [search]
    assert table.dropped == ["tools.web_search"]


def test_own_name_as_namespace_is_that_of_a_deferred_function() -> None:
    table = read_tools([function("rate", defer_loading=True)])

    assert table.chat_name("rate", "rate") == "rate"
    assert table.chat_name("rate", "money") == "money__rate"


@pytest.mark.parametrize(
    ("tools", "param"),
    [
        ({"type": "function"}, "tools"),
        ([1], "tools[0]"),
        ([{"name": "f"}], "tools[0].type"),
        ([{"type": 5}], "tools[0].type"),
        ([{"type": "function"}], "tools[0].name"),
        ([{"type": "function", "name": ""}], "tools[0].name"),
        ([{"type": "function", "function": {"name": "f"}}], "tools[0].name"),
        ([{"type": "function", "name": "f", "parameters": []}], "tools[0].parameters"),
        ([{"type": "namespace", "name": "n", "tools": {}}], "tools[0].tools"),
        ([{"type": "namespace", "name": "n", "tools": [{"type": "custom"}]}], "tools[0].tools[0].name"),
    ],
)
def test_malformed_tool_is_named(tools: object, param: str) -> None:
    with pytest.raises(InvalidRequest, match="must be") as caught:
        read_tools(tools)

    assert caught.value.param == param
