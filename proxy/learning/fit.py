"""Fits a state to labels: a ridge regression for each model with enough of them, and the scale of the score.

The inputs are standardised over the labelled prompts, and count a tenth as much as hashed words; the score counts in
full. `python -m tests.bench.learning` has chosen these numbers, see `docs/learning.md`.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from operator import add, mul
from statistics import fmean
from typing import Any

from msgspec import structs

from proxy.core.learning import LearningRules
from proxy.core.model import TIERS, Tier
from proxy.learning.check import Judged, checked
from proxy.learning.labels import Label, strongest, weights
from proxy.learning.ridge import Row, freed, solve
from proxy.routing.classify.packed import LENGTH, SCORE, unpack
from proxy.routing.classify.rules import Profile
from proxy.routing.learned import Fitted, LearnedPredictor, ScoreMap, State, gain, packed

PENALTY = 20.0
SCALE = 0.1  # of the inputs beside hashed words,
SCORE_SCALE = 1.0  # and of the score, whose slope is learned first
TRUST = 100.0  # labels of a model that count as much as the prior
ALONE = 0.7  # what the success of strong models counts for the score, if no prompt has labels of a weak model too
_EXAMPLES = 50  # that are read between two yields: about 2 ms
FEWEST = 20.0  # labels of a model that is learned because others have many

Work = Generator[None, None, Any]


@dataclass(frozen=True, slots=True)
class Example:
    """A label with its features and what it counts."""

    label: Label
    profile: Profile
    weight: float


def examples_of(labels: Sequence[Label], key_share: float) -> Generator[None, None, list[Example]]:
    """Return the labels that can be learned from, in the order of their ids; yield often."""
    chosen = [label for _, label in sorted(strongest(labels).items()) if label.features]
    found = []
    for number, (label, weight) in enumerate(zip(chosen, weights(chosen, key_share), strict=True)):
        profile = profile_of(label.features or b"")
        if profile is not None and weight > 0:
            found.append(Example(label, profile, weight))
        if number % _EXAMPLES == _EXAMPLES - 1:
            yield
    return found


def counted(examples: Sequence[Example]) -> dict[str, float]:
    """Return what the labels of each model count together."""
    names = sorted({example.label.model for example in examples})
    return {name: round(sum([each.weight for each in examples if each.label.model == name]), 2) for name in names}


def profile_of(features: bytes) -> Profile | None:
    """Return a profile with the inputs of a label; `None` if they are of another version."""
    try:
        inputs, hashed = unpack(features)
    except ValueError:
        return None
    score = inputs[SCORE]
    return Profile("chat", "low", score, (), 1.0, cuts=(0.5, 0.62), inputs=inputs, hashed=hashed)


def fit(version: int, examples: Sequence[Example], tiers: Mapping[str, Tier | None], rules: LearningRules) -> Work:
    """Return the state for labels, or `None` if no model has enough of them; yield often."""
    by_model: dict[str, list[Example]] = {}
    for example in examples:
        by_model.setdefault(example.label.model, []).append(example)
    models: dict[str, Fitted] = {}
    counts = {name: sum([each.weight for each in own]) for name, own in by_model.items() if name in tiers}
    for name in sorted(counts):
        if counts[name] >= _needed(rules.least, counts):
            models[name] = yield from _fit_model(by_model[name], tiers[name])
    if not models:
        return None
    until = max(example.label.time for example in examples)
    state = State(version, len(examples), until, models)
    scale = yield from _scale(state, examples, tiers)
    return State(version, len(examples), until, models, scale)


def fit_and_check(
    version: int,
    examples: Sequence[Example],
    tiers: Mapping[str, Tier | None],
    rules: LearningRules,
    serving: State | None,
) -> Work:
    """Return the state for all labels, with the result of the check in `check`; `None` without enough labels.

    The check fits four fifths of the prompts, and compares the predictions for the others.
    """
    state = yield from fit(version, examples, tiers, rules)
    if state is None:
        return None
    seen = [example for example in examples if not Judged.is_held_out(example.label)]
    part = yield from fit(version, seen, tiers, LearningRules(least=1, key_share=rules.key_share))
    held_out = [Judged(each.label, each.profile, each.weight) for each in examples if Judged.is_held_out(each.label)]
    yield
    result = yield from checked(part, serving, held_out, tiers)
    return State(version, state.labels, state.until, state.models, state.score, result)


def _needed(least: int, counts: Mapping[str, float]) -> float:
    """Return the labels that a model needs: fewer, if all models together have twice as many as one needs."""
    return max(FEWEST, least / 4) if sum(counts.values()) >= 2 * least else float(least)


def _fit_model(examples: Sequence[Example], tier: Tier | None) -> Work:
    means, deviations = yield from _spread([example.profile.inputs for example in examples])
    factors = [SCALE / (deviation + 1e-3) for deviation in deviations]
    factors[SCORE] *= SCORE_SCALE / SCALE
    yield
    rows = []
    for number, example in enumerate(examples):
        profile = example.profile
        root = max(sum([times for _, times in profile.hashed]), 1) ** 0.5
        dense = [(value - mean) * by for value, mean, by in zip(profile.inputs, means, factors, strict=True)]
        places = [*range(LENGTH), *[LENGTH + bucket for bucket, _ in profile.hashed]]
        values = [*dense, *[times / root for _, times in profile.hashed]]
        rows.append(Row(tuple(places), tuple(values), example.label.score, example.weight))
        if number % _EXAMPLES == _EXAMPLES - 1:
            yield
    intercept, found = yield from solve(rows, PENALTY)
    yield from freed(rows)
    weights = [found.get(column, 0.0) * factor for column, factor in enumerate(factors)]
    intercept -= sum([weight * mean for weight, mean in zip(weights, means, strict=True)])
    count = sum([example.weight for example in examples])
    hashed = {column - LENGTH: weight for column, weight in found.items() if column >= LENGTH}
    return Fitted(tier, len(examples), round(count / (count + TRUST), 4), intercept, *packed(weights, hashed))


def _spread(inputs: Sequence[Sequence[float]]) -> Generator[None, None, tuple[list[float], list[float]]]:
    """Return the means and the standard deviations of the columns; yield often."""
    count, sums, squares = len(inputs), [0.0] * LENGTH, [0.0] * LENGTH
    for number, row in enumerate(inputs):
        sums = list(map(add, sums, row))
        squares = list(map(add, squares, map(mul, row, row)))
        if number % _EXAMPLES == _EXAMPLES - 1:
            yield
    means = [value / count for value in sums]
    spreads = [math.sqrt(max(0.0, value / count - mean * mean)) for value, mean in zip(squares, means, strict=True)]
    return means, spreads


def _scale(state: State, examples: Sequence[Example], tiers: Mapping[str, Tier | None]) -> Work:
    """Return the scale of the score, if weak and strong models have been learned."""
    low, high = _ends(state, examples, tiers)
    if not low:
        return None
    prompts: dict[bytes | None, tuple[Profile, set[str]]] = {}
    for number, example in enumerate(examples):
        prompts.setdefault(example.label.features, (example.profile, set()))[1].add(example.label.model)
        if number % _EXAMPLES == _EXAMPLES - 1:
            yield
    pairs = sum([not names.isdisjoint(low) and not names.isdisjoint(high) for _, names in prompts.values()])
    chosen, balance = _chosen_by_score(examples, low, high)
    strong = (ALONE + (1.0 - ALONE) * pairs / len(prompts)) * (1.0 - chosen * (1.0 - balance / 2))
    scale = ScoreMap(low, high, 0.0, 0.0, 1.0, 0.0, 0.0, strong)
    predictor, gains, scores = LearnedPredictor(state), [], []
    for number, (profile, _) in enumerate(prompts.values()):
        gains.append(gain(scale, predictor.values(profile)))
        scores.append(profile.score)
        if number % _EXAMPLES == _EXAMPLES - 1:
            yield
    if not all(map(math.isfinite, gains)):
        return None
    return structs.replace(
        scale,
        share=min(state.models[name].share for name in (*low, *high)) * (1.0 - chosen * (1.0 - balance) / 2),
        gain_mean=fmean(gains),
        gain_deviation=max(_deviation(gains), 1e-4),
        score_mean=fmean(scores),
        score_deviation=_deviation(scores),
    )


def _chosen_by_score(examples: Sequence[Example], low: Sequence[str], high: Sequence[str]) -> tuple[float, float]:
    """Return how much the classifier's score decides which labels there are, and whether both sides have as many.

    The first is the distance of the area under the ROC curve from a half, doubled: 1 if strong models have all higher
    scores. Then nothing shows how they do at easy prompts, and the weak ones at hard prompts. The second is 1 for equal
    numbers, and near 0 if one side has few: then most prompts are unlike those of that side.
    """
    by_score: dict[float, list[int]] = {}  # the labels of weak and of strong models
    for each in examples:
        if each.label.model in low or each.label.model in high:
            by_score.setdefault(each.profile.score, [0, 0])[each.label.model in high] += 1
    below = strong = ordered = 0.0
    for score in sorted(by_score):
        weak_here, strong_here = by_score[score]
        ordered += strong_here * (below + weak_here / 2)
        below, strong = below + weak_here, strong + strong_here
    return abs(2.0 * ordered / (strong * below) - 1.0), 2.0 * min(strong, below) / (strong + below)


def _ends(
    state: State, examples: Sequence[Example], tiers: Mapping[str, Tier | None]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the learned models of the lowest and of the highest tier; nothing if all are of the same.

    Where no model has a tier, they are the one with the least and the one with the greatest mean score.
    """
    names = sorted(state.models)
    known = sorted({tier for name in names if (tier := tiers[name]) is not None}, key=TIERS.index)
    if len(known) > 1:
        low, high = (tuple([name for name in names if tiers[name] == tier]) for tier in (known[0], known[-1]))
        return low, high
    if known or len(names) < 2:
        return (), ()
    means = {name: fmean([each.label.score for each in examples if each.label.model == name]) for name in names}
    worst, *_, best = sorted(names, key=lambda name: (means[name], name))
    return (worst,), (best,)


def _deviation(values: Sequence[float]) -> float:
    """Return the standard deviation; the exact one of `statistics` takes a hundred times as long."""
    mean = fmean(values)
    return math.sqrt(fmean([(value - mean) ** 2 for value in values]))
