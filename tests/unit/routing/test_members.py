"""Deployments of names, also through `any_model`."""

from dataclasses import replace

from proxy.core.model import Deployment
from proxy.routing.members import Missing, find
from tests.unit.routing.build import LLAMA, LOCAL, snapshot

KNOWN = Deployment(LOCAL, "known", context_window=1000, listed=False)


def test_unlisted_models_take_values_from_the_catalogue() -> None:
    given = replace(snapshot(LLAMA), catalogue={"local": {"known": KNOWN}})

    assert find(given, "local/known") == KNOWN
    assert find(given, "local/known-2025-08-07") == replace(KNOWN, model="known-2025-08-07")


def test_an_unknown_model_has_no_values() -> None:
    given = replace(snapshot(LLAMA), catalogue={"local": {"known": KNOWN}})

    assert find(given, "local/other") == Deployment(LOCAL, "other", timeouts=LOCAL.timeouts, listed=False)


def test_catalogue_models_need_an_any_model_provider() -> None:
    closed = replace(LOCAL, any_model=False)
    given = replace(snapshot(replace(LLAMA, provider=closed)), catalogue={"local": {"known": KNOWN}})

    assert isinstance(find(given, "local/known"), Missing)
