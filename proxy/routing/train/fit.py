"""Fits the classifier: a ridge regression for the difficulty, a logistic regression for the task.

Both are linear in the vectors of words, so that a word's vector and the weights collapse into one number for each
output. All numbers are rounded before they are stored, which makes the file reproducible.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from proxy.core.json_text import compact
from proxy.core.model import TASKS
from proxy.routing.classify.features import BUCKETS, NAMES, Text
from proxy.routing.classify.kinds import before_options, is_calculation
from proxy.routing.classify.prompt import bounded
from proxy.routing.classify.tasks import votes_of
from proxy.routing.classify.trained import EXPONENT, MAGIC, OUTPUTS, compressed, digest_of, pack_words
from proxy.routing.train.data import Data, Labelled, Question
from proxy.routing.train.kinds import KindTerms
from proxy.routing.train.templates import make_prompts, multiple_choice

VERSION = "3"
BOUND = 2.5  # standard deviations to which features are cut
RIDGE = 300.0
WORD_SCALE = 10.0**0.5  # of the vectors beside the features, in the ridge regression
STEP = 0.08  # that a step of a calculation adds to the difficulty, among the prompts of a source
MOST_STEPS = 8
DENSE_SCALE = 0.07  # of the features beside the votes of rules, in the logistic regression,
TEXT_SCALE = 2.0  # and of the words
RULE_SHARE = 1.5  # added to the weight of a rule's vote for its own task
_ITERATIONS = 120
Array = Any  # of numpy


class Inputs:
    """The inputs of texts: features, sums of word vectors, hashed words, votes of rules, signs of their kind."""

    def __init__(self, texts: Sequence[str], vectors: dict[str, Array]) -> None:
        size = len(next(iter(vectors.values())))
        self.dense = numpy.zeros((len(texts), len(NAMES)))
        self.words = numpy.zeros((len(texts), size))
        self.votes = numpy.zeros((len(texts), len(TASKS)))
        self.before = numpy.full(len(texts), -1.0)  # characters before the options; negative without options
        self.sums = numpy.zeros(len(texts))  # 1 for calculations in words
        rows, columns, values = [], [], []
        for at, whole in enumerate(texts):
            text = Text(bounded(whole))
            self.dense[at] = text.dense()
            known = [vectors[word] for word in text.words if word in vectors]
            if known:
                self.words[at] = numpy.sum(known, axis=0) / max(len(text.words), 1) ** EXPONENT
            votes = votes_of(text.lowered)
            self.votes[at] = [votes[task] for task in TASKS]
            before = before_options(text.text)
            self.before[at] = -1.0 if before is None else before
            self.sums[at] = is_calculation(text)
            found = list(text.buckets())
            root = max(sum(times for _, times in found), 1) ** 0.5
            rows += [at] * len(found)
            columns += [bucket for bucket, _ in found]
            values += [times / root for _, times in found]
        self.hashed = sparse.csr_matrix((values, (rows, columns)), shape=(len(texts), BUCKETS))
        self.votes = numpy.log1p(self.votes)


class Standard:
    """Features as distances from their mean."""

    def __init__(self, dense: Array) -> None:
        self.centre = numpy.round(dense.mean(0), 6)
        self.spread = numpy.round(dense.std(0) + 1e-3, 6)

    def __call__(self, dense: Array) -> Array:
        return numpy.clip((dense - self.centre) / self.spread, -BOUND, BOUND)


class Difficulty:
    """The difficulty as a linear function of standardised features and of the sum of word vectors.

    `hints` are prompts whose difficulties are only known relative to each other: each set has its own intercept.
    """

    def __init__(
        self, inputs: Inputs, difficulties: Array, standard: Standard, hints: Sequence[tuple[Inputs, Array]] = ()
    ) -> None:
        sets = [self._columns(each, values, standard) for each, values in ((inputs, difficulties), *hints)]
        mean, base = sets[0][2], float(difficulties.mean())
        normal = sum([columns.T @ columns for columns, _, _ in sets]) + RIDGE * numpy.eye(len(mean))
        weights = numpy.linalg.solve(normal, sum([columns.T @ values for columns, values, _ in sets]))
        self.base = base - float(mean @ weights)
        self.dense, self.words = weights[: len(NAMES)], weights[len(NAMES) :] * WORD_SCALE
        self._standard = standard

    @staticmethod
    def _columns(inputs: Inputs, values: Array, standard: Standard) -> tuple[Array, Array, Array]:
        """Return columns and values without their means, and the means of the columns."""
        columns = numpy.hstack([standard(inputs.dense), inputs.words * WORD_SCALE])
        mean = columns.mean(0)
        return columns - mean, values - values.mean(), mean

    def __call__(self, inputs: Inputs) -> Array:
        return self.base + self._standard(inputs.dense) @ self.dense + inputs.words @ self.words


class Tasks:
    """The scores of the tasks."""

    def __init__(self, inputs: Inputs, tasks: Array, sources: Sequence[str], standard: Standard) -> None:
        columns = sparse.hstack(
            [
                sparse.csr_matrix(standard(inputs.dense) * DENSE_SCALE),
                sparse.csr_matrix(inputs.words * TEXT_SCALE),
                inputs.hashed * TEXT_SCALE,
                sparse.csr_matrix(inputs.votes),
            ]
        ).tocsr()
        regression = LogisticRegression(C=1.0, max_iter=_ITERATIONS, tol=1e-3)
        regression.fit(columns, tasks, sample_weight=_weights(tasks, sources))
        weights = numpy.zeros((len(TASKS), columns.shape[1]))
        weights[regression.classes_] = regression.coef_
        self.base = numpy.full(len(TASKS), -10.0)
        self.base[regression.classes_] = regression.intercept_
        ends = numpy.cumsum([len(NAMES), inputs.words.shape[1], BUCKETS])
        dense, words, hashed, votes = numpy.split(weights, ends, axis=1)
        self.words, self.hashed = words * TEXT_SCALE, hashed * TEXT_SCALE
        self.dense = dense * DENSE_SCALE
        self.votes = votes + RULE_SHARE * numpy.eye(len(TASKS))
        self._standard = standard

    def __call__(self, inputs: Inputs) -> Array:
        linear = self._standard(inputs.dense) @ self.dense.T + inputs.words @ self.words.T
        return self.base + linear + inputs.hashed @ self.hashed.T + inputs.votes @ self.votes.T

    def probabilities(self, inputs: Inputs) -> Array:
        """Return the probabilities of the tasks."""
        scores = self(inputs)
        odds = numpy.exp(scores - scores.max(1, keepdims=True))
        return odds / odds.sum(1, keepdims=True)


def question_inputs(questions: Sequence[Question], vectors: dict[str, Array]) -> tuple[Inputs, Array]:
    """Return the inputs of questions, first without and then with options, and their difficulties."""
    texts = [question.text for question in questions] + [question.with_options for question in questions]
    difficulties = numpy.array([question.difficulty for question in questions])
    return Inputs(texts, vectors), numpy.concatenate([difficulties, difficulties])


def hints_of(prompts: Sequence[Labelled], vectors: dict[str, Array]) -> list[tuple[Inputs, Array]]:
    """Return the inputs of calculations whose steps show which are harder, by source, and by how much."""
    found: dict[str, list[tuple[str, float]]] = {}
    for prompt in prompts:
        if prompt.steps:
            found.setdefault(prompt.source, []).append((prompt.text, STEP * min(prompt.steps, MOST_STEPS)))
    return [
        (Inputs([text for text, _ in pairs], vectors), numpy.array([harder for _, harder in pairs]))
        for pairs in found.values()
    ]


def kind_terms(questions: Inputs, hints: Sequence[tuple[Inputs, Array]], standard: Standard) -> KindTerms:
    """Return the terms that depend on the kind of a prompt, with the means of questions and of the calculations."""
    sizes = numpy.vstack([standard(inputs.dense) for inputs, _ in hints])
    return KindTerms(questions.before[questions.before >= 0], sizes)


def task_prompts(data: Data) -> list[Labelled]:
    """Return the prompts from which tasks are learned: the labelled ones, exam questions, and those of templates."""
    sentences = [
        each.text for each in data.prompts if each.source in ("clinc-oos", "banking77") and 30 < len(each.text) < 160
    ]
    texts = [each.text for each in data.prompts if each.source == "p3-t0" and len(each.text) > 300]
    sentences += [sentence for text in texts for sentence in text.split(". ")[:2] if 40 < len(sentence) < 160]
    passages = [text[: 200 + 37 * (at % 27)].strip() for at, text in enumerate(texts)]
    programs = [each.text.strip()[:600] for each in data.prompts if each.source == "humaneval"]
    templated = [Labelled(text, task, "template") for text, task in make_prompts(sentences, passages, programs)]
    exam = [Labelled(question.text, _exam_task(question), "exam") for question in data.questions[::4]]
    exam += [
        Labelled(multiple_choice(at, question.text, question.options), _exam_task(question), "exam")
        for at, question in enumerate(data.questions[2::4])
    ]
    return [*data.prompts, *templated, *exam]


def _exam_task(question: Question) -> str:
    if question.category == "computer science":
        return "code"
    calculates = sum(map(str.isdigit, question.text)) >= 3
    numeric = ("physics", "chemistry", "engineering", "business", "economics")
    return "math" if question.category == "math" or (calculates and question.category in numeric) else "analysis"


def _weights(tasks: Array, sources: Sequence[str]) -> Array:
    """Return weights that keep a large source, and a common task, from dominating."""
    by_source = Counter(zip(sources, tasks.tolist(), strict=True))
    weights = numpy.array([by_source[pair] ** -0.6 for pair in zip(sources, tasks.tolist(), strict=True)])
    by_task = numpy.zeros(len(TASKS))
    numpy.add.at(by_task, tasks, weights)
    weights = weights * by_task[tasks] ** -0.7
    return weights * len(weights) / weights.sum()


def train(data: Data) -> bytes:
    """Return the model's file."""
    questions, difficulties = question_inputs(data.questions, data.vectors)
    prompts = task_prompts(data)
    inputs = Inputs([prompt.text for prompt in prompts], data.vectors)
    standard = Standard(numpy.vstack([questions.dense, inputs.dense]))
    hints = hints_of(data.prompts, data.vectors)
    difficulty = Difficulty(questions, difficulties, standard, hints)
    labels = numpy.array([TASKS.index(prompt.task) for prompt in prompts])
    tasks = Tasks(inputs, labels, [prompt.source for prompt in prompts], standard)
    kinds = kind_terms(questions, hints, standard)
    mixed = [
        difficulty(each) + kinds(each.before, each.sums, standard(each.dense), tasks.probabilities(each))
        for each in (questions, inputs)
    ]
    quantiles = numpy.quantile(numpy.concatenate(mixed), numpy.linspace(0, 1, 101))
    return _file(data, difficulty, tasks, kinds, standard, [*map(compressed, quantiles.tolist())])


def _file(
    data: Data, difficulty: Difficulty, tasks: Tasks, kinds: KindTerms, standard: Standard, quantiles: Sequence[float]
) -> bytes:
    words = sorted(data.vectors)
    vectors = numpy.array([data.vectors[word] for word in words])
    table = numpy.column_stack([vectors @ difficulty.words, vectors @ tasks.words.T])
    scales = numpy.array([_scale(column) for column in table.T])
    hash_scale = _scale(tasks.hashed)
    packed = pack_words(words)
    payload = packed + _bytes(table / scales) + _bytes(tasks.hashed.T / hash_scale)
    header = {
        "version": VERSION,
        "sha256": "",
        "data": data.sha256,
        "features": NAMES,
        "outputs": OUTPUTS,
        "words_bytes": len(packed),
        "base": _rounded([difficulty.base, *tasks.base]),
        "dense": [_rounded(difficulty.dense), *map(_rounded, tasks.dense)],
        "votes": [*map(_rounded, tasks.votes)],
        "kinds": kinds.header(),
        "centre": standard.centre.tolist(),
        "spread": standard.spread.tolist(),
        "scales": scales.tolist(),
        "hash_scale": hash_scale,
        "quantiles": _rounded(quantiles),
    }
    header["sha256"] = digest_of(compact(header), payload)
    return MAGIC + compact(header) + b"\n" + payload


def _scale(values: Array) -> float:
    """Return the value of one step of a byte; the few largest values are cut."""
    return max(float(f"{numpy.quantile(numpy.abs(values), 0.9995) / 127:.4g}"), 1e-9)


def _bytes(steps: Array) -> bytes:
    return bytes((numpy.clip(numpy.rint(numpy.round(steps, 3)), -127, 127).astype(int) + 128).ravel().tolist())


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 5) for value in values]
