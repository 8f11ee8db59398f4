"""Labels of a small world: two models, and prompts with two words that say which of them succeeds."""

from __future__ import annotations

from msgspec import structs

from proxy.learning.labels import FEEDBACK, Label
from proxy.routing.classify.packed import LENGTH, SCORE, pack, rounded
from proxy.routing.classify.rules import Profile

WEAK, STRONG = "openai/mini", "anthropic/opus"  # deployments of `tests/unit/routing/build.py`
EASY, HARD = 11, 12  # hashed words


def profile(word: int, number: int = 0, score: float | None = None) -> Profile:
    """A prompt with one word that matters, and one of fifty others."""
    values = [((number * 7 + at) % 5) / 5 for at in range(LENGTH)]
    values[SCORE] = 0.3 + (number % 40) / 100 if score is None else score
    inputs = rounded(values)
    hashed = ((word, 2), (100 + number % 50, 1))
    return Profile("chat", "low", inputs[SCORE], (), 1.0, cuts=(0.5, 0.62), inputs=inputs, hashed=hashed)


def label(number: int, model: str, score: float, word: int, **fields: object) -> Label:
    """A label of a prompt with this word."""
    made = Label(f"req_{number}", model, FEEDBACK, number, None, score, 1.0, 1.0, pack(profile(word, number)))
    return structs.replace(made, **fields)


def world(count: int, *, useful: bool = True) -> list[Label]:
    """Labels of both models: the weak one fails at prompts with the hard word, if `useful`, else at every second."""
    labels = []
    for number in range(count):
        word = EASY if number % 3 else HARD
        fails = word == HARD if useful else number % 2 == 0
        labels += [label(number, WEAK, 0.0 if fails else 1.0, word), label(number, STRONG, 1.0, word)]
    return labels
