"""Sets the weights of the terms that depend on the kind of a prompt (`proxy/routing/classify/kinds.py`).

The weights are constants, which were compared on sources that were held out (`tests/bench/routing.py`); the means are
those of the training data.
"""

from __future__ import annotations

from typing import Any

import numpy

from proxy.core.model import TASKS
from proxy.routing.classify.kinds import QUESTION_BOUND, SIZE, SIZE_BOUND

# What a task adds to the difficulty of an open prompt: weak models fail more often at math and code.
TASK_TERMS = {"math": 0.07, "code": 0.07, "analysis": -0.03}
OTHER_TASK = -0.13
QUESTION = 0.08  # for each unit of the logarithm of the characters before the options
SIZE_WEIGHT = 0.06  # for each standard deviation of the length, the numbers and the sentences of a calculation
Array = Any  # of numpy


class KindTerms:
    """The sum of the terms of texts."""

    def __init__(self, questions: Array, sizes: Array) -> None:
        """`questions`: the characters before the options; `sizes`: the standardised features of calculations."""
        self._tasks = numpy.array([TASK_TERMS.get(task, OTHER_TASK) for task in TASKS])
        self._question_centre = round(float(numpy.log1p(questions).mean()), 4)
        self._size_centre = round(float(sizes[:, SIZE].sum(1).mean()), 4)

    def __call__(self, before: Array, sums: Array, standard: Array, probabilities: Array) -> Array:
        """Return the sums; `before` is negative without options, `sums` is 1 for calculations in words."""
        chosen = before >= 0
        question = numpy.log1p(numpy.maximum(before, 0)) - self._question_centre
        size = standard[:, SIZE].sum(1) - self._size_centre
        math = probabilities[:, TASKS.index("math")]
        open_prompt = probabilities @ self._tasks + SIZE_WEIGHT * sums * math * numpy.clip(
            size, -SIZE_BOUND, SIZE_BOUND
        )
        return numpy.where(chosen, QUESTION * numpy.clip(question, -QUESTION_BOUND, QUESTION_BOUND), open_prompt)

    def header(self) -> dict[str, Any]:
        """Return the weights as the model's header has them."""
        return {
            "tasks": self._tasks.tolist(),
            "question": [QUESTION, self._question_centre],
            "size": [SIZE_WEIGHT, self._size_centre],
        }
