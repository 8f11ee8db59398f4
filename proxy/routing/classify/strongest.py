"""The words of a prompt that moved its score the most, for an answer to its sender; records have none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.core.call import Call
from proxy.routing.classify.prompt import read_prompt
from proxy.routing.classify.tasks import depth_words

MOST = 5  # in each direction
_LISTED = 40  # words and signs in each direction, from which the words are taken
_DEPTH = 0.06  # what the rules add for a word that asks for depth


def with_words(decision: Mapping[str, Any], call: Call) -> dict[str, Any]:
    """Return a decision record whose profile, if it has one, also has the words, from those that make it harder."""
    profile = decision.get("profile")
    if profile is None:
        return dict(decision)
    words = [{"word": word, "weight": round(weight, 4)} for word, weight in _strongest(call, profile["classifier"])]
    return {**decision, "profile": {**profile, "words": words}}


def _strongest(call: Call, classifier: str) -> list[tuple[str, float]]:
    """Return the words and their weights; none for a classifier that does not know them."""
    if classifier == "rules":
        return [(word, _DEPTH) for word in depth_words(read_prompt(call.body).text)[:MOST]]
    if not classifier.startswith("model"):
        return []
    from proxy.routing.classify.trained import load  # only here: the model is large

    found = load().strongest_words(read_prompt(call.body).text, _LISTED)
    words = [pair for pair in found if pair[0][0].isalnum()]  # no punctuation
    harder, easier = [pair for pair in words if pair[1] > 0], [pair for pair in words if pair[1] < 0]
    return harder[:MOST] + easier[-MOST:]
