"""How good the trained classifier is, measured on parts of the training data that it was not trained on.

    python -m tests.bench.routing --data FOLDER

The split: a category of exam questions is scored by a model that was trained on the other categories, with its
questions and without options; the tasks of `self-instruct-seed` and `arena-hard-v2` by a model that was trained on the
other sources. The rows `length` and `rules` are what the classifier has to beat. APGR is defined in `docs/routing.md`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy

from proxy.core.model import TASKS
from proxy.routing.classify.prompt import bounded
from proxy.routing.classify.tasks import read_words
from proxy.routing.classify.trained import load
from proxy.routing.train.data import Data, Labelled, Question, read_data
from proxy.routing.train.fit import Difficulty, Inputs, Standard, Tasks, question_inputs, task_prompts

PAIRS = (
    ("Mixtral-8x7B-Instruct-v0.1", "gemini-1.5-pro-002"),
    ("Meta-Llama-3-8B", "Meta-Llama-3-70B"),
    ("Mistral-7B-Instruct-v0.2", "Meta-Llama-3_1-70B-Instruct"),
)
HELD_OUT = ("self-instruct-seed", "arena-hard-v2")
MEDIUM, HIGH = 0.40, 0.60  # quantiles of the difficulty that part three tiers
Scores = Any  # an array of numbers


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


def held_out_difficulties(questions: Sequence[Question], inputs: Inputs, difficulties: Scores) -> Scores:
    """Return the difficulty of each question without options, by a model that has not seen its category."""
    count = len(questions)
    categories = numpy.array([question.category for question in questions])
    both = numpy.concatenate([categories, categories])
    scores = numpy.zeros(count)
    for category in sorted(set(categories.tolist())):
        seen = part(inputs, both != category)
        model = Difficulty(seen, difficulties[both != category], Standard(seen.dense))
        own = numpy.flatnonzero(categories == category)
        scores[own] = model(part(inputs, own))
    return scores


def part(inputs: Inputs, chosen: Scores) -> Inputs:
    """Return the inputs of some texts."""
    some = Inputs.__new__(Inputs)
    some.dense, some.words, some.votes = inputs.dense[chosen], inputs.words[chosen], inputs.votes[chosen]
    some.hashed = inputs.hashed[chosen]
    return some


def accuracy(prompts: Sequence[Labelled], task_of: Callable[[Labelled], str]) -> float:
    """Return the share of prompts whose task is right."""
    return sum(task_of(prompt) == prompt.task for prompt in prompts) / len(prompts)


def print_difficulty(data: Data) -> None:
    """Print the APGR of each pair of models, and the gain of three tiers."""
    inputs, difficulties = question_inputs(data.questions, data.vectors)
    scores = held_out_difficulties(data.questions, inputs, difficulties)
    length = numpy.array([len(question.text) for question in data.questions], float)
    out(f"{'APGR, categories held out':60} length  classifier")
    for weak_name, strong_name in PAIRS:
        weak, strong = successes(data, weak_name), successes(data, strong_name)
        out(f"{weak_name + ' / ' + strong_name:60} {apgr(length, weak, strong):.3f}   {apgr(scores, weak, strong):.3f}")
        tiers = numpy.digitize(scores, numpy.quantile(scores, (MEDIUM, HIGH)))
        gains = [float((strong - weak)[tiers == tier].mean()) for tier in range(3)]
        listed = ", ".join(f"{gain:.3f}" for gain in gains)
        out(f"{'  gain of the strong model in the low, medium, high tier':60} {listed}")


def successes(data: Data, model: str) -> Scores:
    """Return 1 for each question that a model answers, else 0."""
    return numpy.array([float(question.results.get(model, False)) for question in data.questions])


def print_tasks(data: Data) -> None:
    """Print the accuracy of the task on sources that were held out."""
    prompts = task_prompts(data)
    seen = [prompt for prompt in prompts if prompt.source not in HELD_OUT]
    inputs = Inputs([prompt.text for prompt in seen], data.vectors)
    labels = numpy.array([TASKS.index(prompt.task) for prompt in seen])
    model = Tasks(inputs, labels, [prompt.source for prompt in seen], Standard(inputs.dense))
    out(f"\n{'accuracy of the task, sources held out':60} rules   classifier")
    for source in HELD_OUT:
        unseen = [prompt for prompt in prompts if prompt.source == source]
        scores = model(Inputs([prompt.text for prompt in unseen], data.vectors))
        found = dict(zip((prompt.text for prompt in unseen), scores.argmax(1).tolist(), strict=True))
        rules = accuracy(unseen, lambda prompt: read_words(bounded(prompt.text)).task)
        own = sum(TASKS[found[prompt.text]] == prompt.task for prompt in unseen) / len(unseen)
        out(f"{source + f' ({len(unseen)})':60} {rules:.3f}   {own:.3f}")


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
    data = read_data(parser.parse_args().data)
    print_difficulty(data)
    print_tasks(data)
    print_times()


if __name__ == "__main__":
    main()
