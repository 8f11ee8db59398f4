"""The terms that depend on the kind of a prompt, in the training and in the classifier."""

from __future__ import annotations

import numpy

from proxy.core.model import TASKS
from proxy.routing.classify.features import NAMES, Text
from proxy.routing.classify.kinds import Kinds
from proxy.routing.train.fit import Inputs, Standard
from proxy.routing.train.kinds import KindTerms

TEXTS = [
    "Why is it so?\nA. one\nB. two\nC. three\nD. four",
    "A much longer question about something that happened to somebody.\nA) 1\nB) 2\nC) 3",
    "Tom has 3 apples and 4 pears. He buys 5 more. How many does he have?",
    "Solve x^2 = 4",
    "Write a poem.",
    "",
]


def test_training_and_classifier_have_the_same_terms() -> None:
    inputs = Inputs(TEXTS, {"poem": numpy.zeros(4)})
    standard = Standard(inputs.dense)
    values = standard(inputs.dense)
    probabilities = numpy.full((len(TEXTS), len(TASKS)), 1 / len(TASKS))
    probabilities[2:4] = [float(task == "math") for task in TASKS]
    terms = KindTerms(inputs.before[inputs.before >= 0], values)

    trained = terms(inputs.before, inputs.sums, values, probabilities)

    kinds = Kinds(terms.header())
    read = [
        sum(term for _, term in kinds.terms(Text(text), row.tolist(), shares.tolist()))
        for text, row, shares in zip(TEXTS, values, probabilities, strict=True)
    ]
    assert len(values[0]) == len(NAMES)
    assert len(set(numpy.round(trained, 6))) > 3
    assert numpy.allclose(trained, read)
