"""The list of models: its pages, and the members for both families of clients."""

from __future__ import annotations

import pytest

from proxy.core.errors import InvalidRequest
from proxy.http.model_list import model_object, model_page
from proxy.routing.names import UsableName
from tests.support.calls import deployment

NAMES = [UsableName(id, "signalbox", "alias") for id in "abcde"]


def page(**query: str) -> tuple[list[str], bool]:
    found = model_page(NAMES, query)
    ids = [model["id"] for model in found["data"]]
    assert (found["first_id"], found["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
    return ids, found["has_more"]


def test_list_is_whole_by_default() -> None:
    assert page() == (list("abcde"), False)
    assert model_page([], {})["data"] == []


@pytest.mark.parametrize(
    ("query", "ids", "more"),
    [
        ({"limit": "2"}, "ab", True),
        ({"limit": "1000"}, "abcde", False),
        ({"limit": "2", "after_id": "b"}, "cd", True),
        ({"limit": "2", "after_id": "c"}, "de", False),
        ({"after_id": "e"}, "", False),
        ({"limit": "2", "before_id": "d"}, "bc", True),
        ({"before_id": "c"}, "ab", False),
        ({"after_id": "a", "before_id": "d"}, "bc", False),
    ],
)
def test_pages(query: dict[str, str], ids: str, more: bool) -> None:
    assert page(**query) == (list(ids), more)


@pytest.mark.parametrize(
    ("name", "value"),
    [("limit", "0"), ("limit", "1001"), ("limit", "x"), ("limit", ""), ("after_id", "z"), ("before_id", "z")],
)
def test_wrong_parameters_are_named(name: str, value: str) -> None:
    with pytest.raises(InvalidRequest) as found:
        page(**{name: value})

    assert found.value.param == name


def test_an_entry_has_the_members_of_both_apis() -> None:
    model = model_object(UsableName("acme/small", "acme", "model", deployment(context_window=8000, max_output=100)))

    assert (model["object"], model["created"], model["owned_by"]) == ("model", 1735689600, "acme")
    assert (model["type"], model["display_name"], model["created_at"]) == (
        "model",
        "acme/small",
        "2025-01-01T00:00:00Z",
    )
    assert (model["max_input_tokens"], model["max_tokens"], model["name_kind"]) == (8000, 100, "model")
