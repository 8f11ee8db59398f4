"""How good the trained classifier is, measured on parts of the training data that it was not trained on.

    python -m tests.bench.routing --data FOLDER

The split: a category of exam questions is scored by a model that was trained on the other categories, with its
questions, without and with options; the other prompts of a source by a model that was trained on the other sources
(`HELD_OUT` has those that are held out together). The columns `length` and `rules` are what the classifier has to
beat. Intervals have 95 %, from resampled questions. APGR is defined in `docs/routing.md`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
from scipy.stats import rankdata, spearmanr

from proxy.core.model import TASKS
from proxy.routing.classify.prompt import bounded
from proxy.routing.classify.rules import RULES
from proxy.routing.classify.tasks import read_words
from proxy.routing.classify.trained import load
from proxy.routing.train.data import Data, read_data
from proxy.routing.train.fit import (
    Difficulty,
    Inputs,
    Standard,
    Tasks,
    hints_of,
    kind_terms,
    question_inputs,
    task_prompts,
)
from tests.unit.routing.build import call

PAIRS = (
    ("Mixtral-8x7B-Instruct-v0.1", "gemini-1.5-pro-002"),
    ("Meta-Llama-3-8B", "Meta-Llama-3-70B"),
    ("Mistral-7B-Instruct-v0.2", "Meta-Llama-3_1-70B-Instruct"),
)
# Sources that are held out together: they resemble each other, or have the same origin.
HELD_OUT = (
    ("self-instruct-seed", "self-instruct-user"),
    ("arena-hard-v2", "arena-hard-v0.1"),
    ("bbh",),
    ("p3-t0",),
    ("mathqa",),
    ("humaneval",),
    ("gpteacher-codegen",),
)
# Tasks in which a weak model fails more often, and those in which it fails less often.
HARD, EASY = ("math", "code"), ("writing", "extraction", "chat")
RESAMPLED = 200
MEDIUM, HIGH = 0.40, 0.60  # quantiles of the difficulty that part three tiers
Scores = Any  # an array of numbers
Hints = Sequence[tuple[Inputs, Any]]


def out(line: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{line}\n")


def apgr(scores: Scores, weak: Scores, strong: Scores) -> float:
    """Return the area under the recovered share of the quality gap, over the share of calls to the strong model."""
    points: list[tuple[float, float]] = []
    for number, edge in enumerate(numpy.quantile(scores, numpy.linspace(0, 1, 11)).tolist()):
        to_strong: Scores = (scores >= edge) if number < 10 else (scores > edge)
        quality = float(numpy.mean(numpy.where(to_strong, strong, weak)))
        points.append((float(numpy.mean(to_strong)), (quality - weak.mean()) / (strong.mean() - weak.mean())))
    points.sort()
    return float(numpy.trapezoid([recovered for _, recovered in points], [share for share, _ in points]))


class Trainer:
    """Trains classifiers on parts of the data."""

    def __init__(self, data: Data) -> None:
        self.data = data
        self.questions, self.difficulties = question_inputs(data.questions, data.vectors)
        self.prompts = task_prompts(data)
        self.inputs = Inputs([prompt.text for prompt in self.prompts], data.vectors)
        self.labels = numpy.array([TASKS.index(prompt.task) for prompt in self.prompts])
        self.sources = numpy.array([prompt.source for prompt in self.prompts])
        self._tasks: dict[tuple[str, ...], Tasks] = {}

    def tasks(self, held_out: tuple[str, ...]) -> Tasks:
        """Return a model of tasks that has not seen these sources."""
        if held_out not in self._tasks:
            seen = numpy.flatnonzero(~numpy.isin(self.sources, held_out))
            known = part(self.inputs, seen)
            sources = self.sources[seen].tolist()
            self._tasks[held_out] = Tasks(known, self.labels[seen], sources, Standard(known.dense))
        return self._tasks[held_out]

    def difficulties_of(self, inputs: Inputs, held_out: tuple[str, ...], seen: Scores = None) -> Scores:
        """Return the difficulties of texts by a model that has not seen these sources, or has only these questions."""
        questions = self.questions if seen is None else part(self.questions, seen)
        values = self.difficulties if seen is None else self.difficulties[seen]
        others = [prompt for prompt in self.data.prompts if prompt.source not in held_out]
        hints, standard = hints_of(others, self.data.vectors), Standard(questions.dense)
        kinds = kind_terms(questions, hints, standard)
        terms = kinds(inputs.before, inputs.sums, standard(inputs.dense), self.tasks(held_out).probabilities(inputs))
        return Difficulty(questions, values, standard, hints)(inputs) + terms


def held_out_difficulties(trainer: Trainer, groups: Sequence[str]) -> Scores:
    """Return the difficulties of all questions without options, then with them, by a model without their group."""
    both = numpy.concatenate([groups, groups])
    scores = numpy.zeros(len(both))
    for group in sorted(set(groups)):
        own = numpy.flatnonzero(both == group)
        scores[own] = trainer.difficulties_of(part(trainer.questions, own), ("exam",), both != group)
    return scores


def part(inputs: Inputs, chosen: Scores) -> Inputs:
    """Return the inputs of some texts."""
    some = Inputs.__new__(Inputs)
    some.dense, some.words, some.votes = inputs.dense[chosen], inputs.words[chosen], inputs.votes[chosen]
    some.hashed, some.before, some.sums = inputs.hashed[chosen], inputs.before[chosen], inputs.sums[chosen]
    return some


def by_length(texts: Sequence[str]) -> Scores:
    """Return the length of each text."""
    return numpy.array([len(text) for text in texts], float)


def by_rules(texts: Sequence[str]) -> Scores:
    """Return the score of each text by plain rules."""
    return numpy.array([RULES.classify(call("auto", text)).score for text in texts])


def print_difficulty(trainer: Trainer) -> None:
    """Print the APGR of each pair of models, and the gain of three tiers."""
    questions = trainer.data.questions
    for held_out, groups in (
        ("categories", [question.category for question in questions]),
        ("sources", [question.source for question in questions]),
    ):
        both = held_out_difficulties(trainer, groups)
        for form, scores, texts in (
            ("without options", both[: len(questions)], [question.text for question in questions]),
            ("with options", both[len(questions) :], [question.with_options for question in questions]),
        ):
            out(f"{f'APGR, {held_out} held out, {form}':60} length               rules                classifier")
            print_pairs(trainer.data, (by_length(texts), by_rules(texts), scores))


def print_pairs(data: Data, columns: Sequence[Scores]) -> None:
    """Print the APGR of columns of scores, and the gain of three tiers of the last column."""
    for weak_name, strong_name in PAIRS:
        weak, strong = successes(data, weak_name), successes(data, strong_name)
        cells = "  ".join(f"{with_interval(column, weak, strong):19}" for column in columns)
        out(f"{weak_name + ' / ' + strong_name:60} {cells}")
        tiers = numpy.digitize(columns[-1], numpy.quantile(columns[-1], (MEDIUM, HIGH)))
        gains = [float((strong - weak)[tiers == tier].mean()) for tier in range(3)]
        listed = ", ".join(f"{gain:.3f}" for gain in gains)
        out(f"{'  gain of the strong model in the low, medium, high tier':60} {listed}")


def with_interval(scores: Scores, weak: Scores, strong: Scores) -> str:
    """Return the APGR with its interval."""
    drawn = numpy.random.default_rng(0).integers(0, len(scores), (RESAMPLED, len(scores)))
    low, high = numpy.quantile([apgr(scores[rows], weak[rows], strong[rows]) for rows in drawn], (0.025, 0.975))
    return f"{apgr(scores, weak, strong):.3f} [{low:.3f}, {high:.3f}]"


def print_kinds(trainer: Trainer) -> None:
    """Print how often a prompt of a hard task has a higher difficulty than one of an easy task of the same sources."""
    data = trainer.data
    out(f"\n{'a hard task ranks above an easy one':60} length rules  classifier")
    for held_out in (*HELD_OUT[:2], tuple(source for each in HELD_OUT[2:] for source in each)):
        own = [prompt for prompt in data.prompts if prompt.source in held_out]
        texts, hard = [prompt.text for prompt in own], numpy.array([prompt.task in HARD for prompt in own])
        easy = numpy.array([prompt.task in EASY for prompt in own])
        difficulties = trainer.difficulties_of(Inputs(texts, data.vectors), held_out)
        columns = (by_length(texts), by_rules(texts), difficulties)
        cells = "  ".join(f"{above(column[hard], column[easy]):.3f}" for column in columns)
        out(f"{', '.join(held_out[:2]) + (', ...' if len(held_out) > 2 else ''):60} {cells}")


def above(high: Scores, low: Scores) -> float:
    """Return the share of pairs in which the first is higher; equal ones count half."""
    ranks = rankdata(numpy.concatenate([high, low]))
    return float((ranks[: len(high)].sum() - len(high) * (len(high) + 1) / 2) / len(high) / len(low))


def successes(data: Data, model: str) -> Scores:
    """Return 1 for each question that a model answers, else 0."""
    return numpy.array([float(question.results.get(model, False)) for question in data.questions])


def print_tasks(trainer: Trainer) -> None:
    """Print the accuracy of the task on sources that were held out."""
    out(f"\n{'accuracy of the task, sources held out':60} rules   classifier")
    for held_out in HELD_OUT:
        model = trainer.tasks(held_out)
        for source in held_out:
            own = numpy.flatnonzero(trainer.sources == source)
            right = model(part(trainer.inputs, own)).argmax(1) == trainer.labels[own]
            prompts = [trainer.prompts[at] for at in own.tolist()]
            rules = [read_words(bounded(prompt.text)).task == prompt.task for prompt in prompts]
            out(f"{source + f' ({len(own)})':60} {numpy.mean(rules):.3f}   {right.mean():.3f}")


def print_steps(trainer: Trainer) -> None:
    """Print how well the difficulty ranks calculations by their steps, by a model that has not seen the source."""
    data = trainer.data
    out(f"\n{'rank correlation with the steps of a calculation':60} length rules  classifier")
    for source in ("mathqa", "svamp"):
        own = [prompt for prompt in data.prompts if prompt.source == source and prompt.steps]
        steps, texts = numpy.array([prompt.steps for prompt in own]), [prompt.text for prompt in own]
        difficulties = trainer.difficulties_of(Inputs(texts, data.vectors), (source,))
        columns = (by_length(texts), by_rules(texts), difficulties)
        cells = "  ".join(f"{float(spearmanr(column, steps).statistic):.3f}" for column in columns)
        out(f"{source + f' ({len(own)})':60} {cells}")


def print_times() -> None:
    """Print the CPU time of a reading."""
    model = load()
    short = ("Explain how the handshake of TCP works, why it is needed, and compare it with QUIC. " * 3)[:200]
    long = ("lorem ipsum dolor sit amet, consectetur adipiscing 12.5 elit; sed do eiusmod " * 2_000)[:100_000]
    out(f"\n{'microseconds of CPU per reading':60} p50     p99")
    for name, text in (("200 characters", short), ("100,000 characters", long)):
        times = []
        for _ in range(2_000):
            began = time.process_time_ns()
            model.read(bounded(text))
            times.append((time.process_time_ns() - began) / 1000)
        times.sort()
        out(f"{name:60} {times[len(times) // 2]:.0f}     {times[len(times) * 99 // 100]:.0f}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Measure the trained classifier on held-out parts of its data.")
    parser.add_argument("--data", type=Path, required=True, help="the folder with the training data")
    trainer = Trainer(read_data(parser.parse_args().data))
    print_difficulty(trainer)
    print_kinds(trainer)
    print_steps(trainer)
    print_tasks(trainer)
    print_times()


if __name__ == "__main__":
    main()
