"""Agents: their names, and the variables in their instructions."""

from __future__ import annotations

import pytest

from proxy.core.agents import Agent, UnknownAgent, agent_name, by_name, filled, find_agent

GREETER = Agent(
    "greeter", "2", "acme/small", instructions="Hello {{name}}, {{ mood }} as ever.", variables={"mood": "glad"}
)


def test_an_agent_has_a_name_per_version_and_label() -> None:
    old = Agent("greeter", "1", "acme/small")

    names = by_name([old, GREETER], {"production": "1", "latest": "2", "gone": "7"})

    assert {name: agent.version for name, agent in names.items()} == {
        "greeter": "1",
        "greeter@1": "1",
        "greeter@production": "1",
        "greeter@2": "2",
        "greeter@latest": "2",
    }


def test_without_the_label_production_the_bare_name_is_unknown() -> None:
    names = by_name([GREETER], {"latest": "2"})

    with pytest.raises(UnknownAgent) as caught:
        find_agent(names, "agent/greeter")

    assert (caught.value.name, caught.value.param, caught.value.error_code) == (
        "agent/greeter",
        "model",
        "model_not_found",
    )


@pytest.mark.parametrize(
    ("model", "name"),
    [("agent/a@1", "agent/a@1"), ("mine", "agent/b"), ("openai/x", None), ("cheap", None), ("agents/a", None)],
)
def test_a_model_names_an_agent_also_by_an_alias(model: str, name: str | None) -> None:
    assert agent_name({"mine": "agent/b", "cheap": "tier/low"}, model) == name


def test_variables_take_the_value_of_the_request_then_the_default() -> None:
    assert filled(GREETER, {"name": "Ada"}, "p") == ("Hello Ada, glad as ever.", None)
    assert filled(GREETER, {"name": "Ada", "mood": ""}, "p") == ("Hello Ada,  as ever.", None)


def test_a_value_is_inserted_as_it_is() -> None:
    text, problem = filled(GREETER, {"name": r"{{mood}} \1 \g<0>"}, "p")

    assert (text, problem) == (r"Hello {{mood}} \1 \g<0>, glad as ever.", None)


def test_a_variable_without_a_value_is_named() -> None:
    agent = Agent("greeter", "1", "m", instructions="{{a}} {{b}}", variables={"a": None, "c": None})

    _, problem = filled(agent, {"b": "x"}, "prompt.variables")

    assert problem is not None
    assert problem.param == "prompt.variables.a"
    assert "needs a value of `a`, `c`" in str(problem)


def test_a_value_that_no_variable_takes_is_rejected() -> None:
    _, problem = filled(GREETER, {"name": "x", "nmae": "y"}, "router.variables")

    assert problem is not None
    assert problem.param == "router.variables.nmae"


@pytest.mark.parametrize("text", ["{{ 1x }}", "{{}}", "{ {x} }", "{{a b}}", "{{\nx\n}}", "{{é}}"])
def test_other_braces_are_no_variables(text: str) -> None:
    assert filled(Agent("a", "1", "m", instructions=text), {}, "p") == (text, None)
