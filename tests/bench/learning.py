"""How much `auto` learns from labels, measured on parts of the training data that the classifier was not trained on.

    python -m tests.bench.learning --data FOLDER [--seeds N]

The split: some categories of exam questions are the traffic of a deployment. The classifier's difficulty is trained on
the other categories. A random 300 or 1,500 of the questions are labelled with the results of a weak and a strong model,
and learned from by `proxy/learning`; the others, at least 150, are measured. *Both*: the results of both models are
known. *Chosen*: only that of the model which the score chose, the strong one for the half with the higher scores; in a
share of *explored* prompts it is a random one.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy

from proxy.core.learning import LearningRules
from proxy.core.model import TASKS
from proxy.learning.fit import examples_of, fit_and_check
from proxy.learning.labels import Label
from proxy.learning.ridge import finish
from proxy.routing.classify.features import Text
from proxy.routing.classify.packed import pack, rounded
from proxy.routing.classify.prompt import bounded
from proxy.routing.classify.rules import Profile
from proxy.routing.classify.trained import load
from proxy.routing.learned import LearnedPredictor
from proxy.routing.train.data import Data, read_data
from proxy.routing.train.fit import Difficulty, Inputs, Standard, hints_of, question_inputs
from tests.bench.routing import PAIRS, Hints, apgr, out, part, successes

MIXED = (
    ("chemistry", "biology", "economics", "psychology", "computer science"),
    ("physics", "business", "math", "psychology"),
)
SINGLE = (("business",), ("math",), ("chemistry",), ("physics",))
RUNS = ((300, SINGLE), (300, MIXED), (1500, MIXED))
EXPLORED = (0.0, 0.1, 1.0)
LEAST_MEASURED = 150
TIERS: Any = {"weak": "low", "strong": "high"}


@dataclass(frozen=True, slots=True)
class Traffic:
    """The questions of some categories, with what a classifier reads that has not seen them."""

    rows: Any  # positions in the data
    profiles: Sequence[Profile]
    scores: Any


def traffic_of(data: Data, inputs: Inputs, difficulties: Any, hints: Hints, held_out: Sequence[str]) -> Traffic:
    """Return the traffic of the held-out categories."""
    categories = numpy.array([question.category for question in data.questions])
    both = numpy.concatenate([categories, categories])
    seen = part(inputs, ~numpy.isin(both, held_out))
    standard = Standard(seen.dense)
    model = Difficulty(seen, difficulties[~numpy.isin(both, held_out)], standard, hints)
    rows = numpy.flatnonzero(numpy.isin(categories, held_out))
    own = part(inputs, rows)
    scores = numpy.clip(model(own), 0, 1)
    dense, words = standard(own.dense), own.words @ model.words
    profiles = []
    for at, row in enumerate(rows.tolist()):
        text = bounded(data.questions[row].text)
        tasks = load().read(text).probabilities  # the task does not depend on any result
        values = [*dense[at].tolist(), float(words[at]), float(scores[at]), *tasks]
        buckets = tuple(Text(text).buckets())
        score = float(scores[at])
        profiles.append(
            Profile(TASKS[0], "low", score, (), 1.0, cuts=(0.5, 0.62), inputs=rounded(values), hashed=buckets)
        )
    return Traffic(rows, profiles, scores)


def labels_of(traffic: Traffic, chosen: Any, weak: Any, strong: Any, explored: float | None, rng: Any) -> list[Label]:
    """Return labels of the chosen positions; `explored` is `None` if the results of both models are known."""
    cut, labels = float(numpy.median(traffic.scores)), []
    for number, at in enumerate(chosen.tolist()):
        features = pack(traffic.profiles[at])
        results = {"weak": float(weak[at]), "strong": float(strong[at])}
        propensity = 1.0
        if explored is not None:
            best = "strong" if traffic.scores[at] >= cut else "weak"
            shown = str(rng.choice(("weak", "strong"))) if rng.random() < explored else best
            propensity = explored / 2 + (1 - explored if shown == best else 0.0)
            results = {shown: results[shown]}
        labels += [
            Label(f"req_{at}", model, "feedback", number, None, score, 1.0, propensity, features)
            for model, score in results.items()
        ]
    return labels


def measured(data: Data, traffic: Traffic, pair: tuple[str, str], count: int, seed: int) -> Iterator[tuple[str, float]]:
    """Yield the name and the APGR of each way to score the questions without a label."""
    rng: Any = numpy.random.default_rng(seed)
    order = rng.permutation(len(traffic.rows))
    labelled, rest = order[:count], order[count:]
    if len(rest) < LEAST_MEASURED:
        return
    weak, strong = (successes(data, name)[traffic.rows] for name in pair)
    length = numpy.array([len(data.questions[row].text) for row in traffic.rows.tolist()], float)
    yield "prompt length", apgr(length[rest], weak[rest], strong[rest])
    yield "no labels", apgr(traffic.scores[rest], weak[rest], strong[rest])
    for name, explored in (("both", None), *((f"chosen, explored {share:.0%}", share) for share in EXPLORED)):
        labels = labels_of(traffic, labelled, weak, strong, explored, rng)
        began = time.process_time()
        state = finish(fit_and_check(1, finish(examples_of(labels, 1.0)), TIERS, LearningRules(least=50), None))
        yield "seconds of CPU for a version", time.process_time() - began
        if state is None:
            continue
        predictor = LearnedPredictor(state)
        scores = numpy.array([predictor.revise(traffic.profiles[at]).score for at in rest.tolist()])
        yield name, apgr(scores, weak[rest], strong[rest])
        yield f"{name}: share of versions that pass the check", float(state.check["passed"])


def print_times(traffic: Traffic, data: Data) -> None:
    """Print what learning adds to a decision."""
    weak, strong = (successes(data, name)[traffic.rows] for name in PAIRS[0])
    labels = labels_of(traffic, numpy.arange(500), weak, strong, None, None)
    state = finish(fit_and_check(1, finish(examples_of(labels, 1.0)), TIERS, LearningRules(), None))
    predictor, profile = LearnedPredictor(state), replace(traffic.profiles[0], features=(("characters", 0.1),))
    times = []
    for _ in range(2_000):
        began = time.process_time_ns()
        predictor.revise(profile)
        times.append((time.process_time_ns() - began) / 1000)
    out(f"\nmicroseconds of CPU that two learned models add to a decision: {statistics.median(times):.0f}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Measure what is learned from labels, on held-out categories.")
    parser.add_argument("--data", type=Path, required=True, help="the folder with the training data")
    parser.add_argument("--seeds", type=int, default=3, help="random choices of the labelled questions")
    arguments = parser.parse_args()
    data = read_data(arguments.data)
    inputs, difficulties = question_inputs(data.questions, data.vectors)
    hints = hints_of(data.prompts, data.vectors)
    for count, groups in RUNS:
        found: dict[str, list[float]] = defaultdict(list)
        for categories in groups:
            traffic = traffic_of(data, inputs, difficulties, hints, categories)
            for pair in PAIRS:
                for seed in range(arguments.seeds):
                    for name, value in measured(data, traffic, pair, count, seed):
                        found[name].append(value)
        runs = len(found["no labels"])
        kind = "a single category" if groups is SINGLE else "several categories"
        out(f"\n{f'APGR after {count} labels, {kind} ({runs} runs)':60} mean")
        for name, values in found.items():
            out(f"{name:60} {statistics.fmean(values):.3f}")
    print_times(traffic, data)


if __name__ == "__main__":
    main()
