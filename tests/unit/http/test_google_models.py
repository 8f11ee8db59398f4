"""The list of models in Google's format."""

from __future__ import annotations

import pytest

from proxy.core.errors import InvalidRequest
from proxy.http.google_models import google_model, google_page
from proxy.routing.names import UsableName
from tests.support.calls import deployment

NAMES = [UsableName(f"tier/{tier}", "signalbox", "tier") for tier in ("low", "medium", "high")]


def ids(page: dict[str, list[dict[str, str]]]) -> list[str]:
    return [model["name"] for model in page["models"]]


def test_pages_follow_each_other() -> None:
    first = google_page(NAMES, {"pageSize": "2"})
    second = google_page(NAMES, {"pageSize": "2", "pageToken": first["nextPageToken"]})

    assert ids(first) == ["models/tier/low", "models/tier/medium"]
    assert ids(second) == ["models/tier/high"]
    assert "nextPageToken" not in second
    assert ids(google_page(NAMES, {})) == [*ids(first), *ids(second)]
    assert ids(google_page(NAMES, {"page_size": "0"})) == ids(google_page(NAMES, {}))
    assert google_page([], {}) == {"models": []}


@pytest.mark.parametrize("query", [{"pageSize": "x"}, {"pageSize": "-1"}, {"pageToken": "other"}])
def test_wrong_parameter_is_named(query: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest) as found:
        google_page(NAMES, query)

    assert found.value.param == next(iter(query))


def test_model_has_its_limits_and_methods() -> None:
    chat = deployment(context_window=8000, max_output=100)
    vectors = deployment("vectors", kind="embedding")

    assert google_model(UsableName(chat.name, "acme", "model", chat)) == {
        "name": f"models/{chat.name}",
        "version": "1",
        "displayName": chat.name,
        "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens"],
        "inputTokenLimit": 8000,
        "outputTokenLimit": 100,
    }
    embedding = google_model(UsableName("v", "acme", "alias", vectors))
    assert embedding["supportedGenerationMethods"] == ["embedContent", "batchEmbedContents"]
    assert embedding["displayName"] == "v"
