"""The `generationConfig` of Google's requests as parameters of a chat."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.core.errors import InvalidRequest
from proxy.surfaces.generate.settings import read_settings


def settings(**config: Any) -> dict[str, Any]:
    return read_settings({"generationConfig": config}, {})


def test_settings_become_parameters() -> None:
    assert settings(
        temperature="0.5",
        topP=1,
        presencePenalty=0.1,
        frequencyPenalty=-0.1,
        maxOutputTokens="100",
        seed=7.0,
        candidateCount=2,
        stopSequences=["a", ""],
        responseLogprobs=True,
        logprobs=3,
    ) == {
        "temperature": 0.5,
        "top_p": 1,
        "presence_penalty": 0.1,
        "frequency_penalty": -0.1,
        "max_completion_tokens": 100,
        "seed": 7,
        "n": 2,
        "stop": ["a"],
        "logprobs": True,
        "top_logprobs": 3,
    }
    assert settings(candidateCount=1, responseLogprobs=False, logprobs=2, stopSequences=[]) == {}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"thinkingLevel": "HIGH", "includeThoughts": True}, "high"),
        ({"thinkingLevel": "low"}, "low"),
        ({"thinkingLevel": "THINKING_LEVEL_UNSPECIFIED"}, None),
        ({"thinkingBudget": 0}, "none"),
        ({"thinkingBudget": -1}, None),
        ({"thinkingBudget": 1024}, "low"),
        ({"thinkingBudget": 1025}, "medium"),
        ({"thinkingBudget": 24576}, "high"),
        ({}, None),
    ],
)
def test_thinking_becomes_an_effort(config: dict[str, Any], expected: str | None) -> None:
    assert settings(thinkingConfig=config).get("reasoning_effort") == expected


@pytest.mark.parametrize("name", ["responseSchema", "responseJsonSchema", "_responseJsonSchema", "response_schema"])
def test_schema_of_the_answer_becomes_its_format(name: str) -> None:
    config = {"responseMimeType": "application/json", name: {"type": "OBJECT"}}

    assert read_settings({"generationConfig": config}, {}) == {
        "response_format": {"type": "json_schema", "json_schema": {"name": "response", "schema": {"type": "object"}}}
    }


def test_formats_without_schema() -> None:
    dropped: dict[str, None] = {}

    assert settings(responseMimeType="application/json") == {"response_format": {"type": "json_object"}}
    assert settings(responseMimeType="text/plain") == {}
    enum = {"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": ["a"]}}
    assert read_settings({"generationConfig": enum}, dropped) == {}
    assert list(dropped) == ["generationConfig.responseMimeType", "generationConfig.responseSchema"]


@pytest.mark.parametrize(
    ("config", "param"),
    [
        ({"temperature": True}, "generationConfig.temperature"),
        ({"temperature": "hot"}, "generationConfig.temperature"),
        ({"topP": float("inf")}, "generationConfig.topP"),
        ({"maxOutputTokens": 0}, "generationConfig.maxOutputTokens"),
        ({"maxOutputTokens": 1.5}, "generationConfig.maxOutputTokens"),
        ({"candidateCount": "x" * 40}, "generationConfig.candidateCount"),
        ({"seed": []}, "generationConfig.seed"),
        ({"stopSequences": [1]}, "generationConfig.stopSequences"),
        ({"responseLogprobs": 1}, "generationConfig.responseLogprobs"),
        ({"responseMimeType": 1}, "generationConfig.responseMimeType"),
        ({"responseJsonSchema": "x", "responseMimeType": "application/json"}, "generationConfig.responseJsonSchema"),
        ({"responseSchema": 7, "responseMimeType": "application/json"}, "generationConfig.responseSchema"),
        ({"thinkingConfig": {"thinkingBudget": "x"}}, "generationConfig.thinkingConfig.thinkingBudget"),
        ({"thinkingConfig": {"thinkingLevel": 3}}, "generationConfig.thinkingConfig.thinkingLevel"),
    ],
)
def test_wrong_setting_is_named(config: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as found:
        read_settings({"generationConfig": config}, {})

    assert found.value.param == param
