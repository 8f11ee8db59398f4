"""Labels: judgements of answers, and how much each of them counts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from msgspec import Struct

FEEDBACK, JUDGE, SIGNAL = "feedback", "judge", "signal"  # sources: clients, a model, and ratings by cheap signs
JUDGE_WEIGHT = 0.5  # beside feedback, which counts 1
SIGNAL_WEIGHT = 0.1
FLOOR = 10.0  # the weight that one key has in any case: less than `learning.min_labels` can be


class Label(Struct, frozen=True, gc=False):
    """A judgement of the answer of one model to one prompt."""

    call_id: str
    model: str  # provider/model
    source: str
    time: int  # microseconds since 1970
    key_id: str | None  # whose influence is bounded; `None`: trusted
    score: float  # 0 to 1
    weight: float
    propensity: float  # with which the model was chosen
    features: bytes | None  # see `routing/classify/packed.py`
    comment: str | None = None  # is not read back to learn from


def strongest(labels: Iterable[Label]) -> dict[tuple[str, str], Label]:
    """Return one label for each answer: that of the source with the most weight."""
    found: dict[tuple[str, str], Label] = {}
    for label in labels:
        key = (label.call_id, label.model)
        if key not in found or label.weight >= found[key].weight:
            found[key] = label
    return found


def weights(labels: Iterable[Label], share: float) -> list[float]:
    """Return what each label counts: with the labels of all others, no key has more than `share` of the weight.

    `FLOOR` is allowed in any case. Labels without a key, of anonymous or of trusted callers, are not bounded; with a
    share of 1, no labels are.
    """
    listed = list(labels)
    if share >= 1.0:
        return [label.weight for label in listed]
    by_key: dict[str | None, float] = defaultdict(float)
    for label in listed:
        by_key[label.key_id] += label.weight
    everything, ratio = sum(by_key.values()), share / (1.0 - share)
    factors = {
        key: min(1.0, max(FLOOR, ratio * (everything - total)) / total)
        for key, total in by_key.items()
        if key is not None and total > 0
    }
    return [label.weight * factors.get(label.key_id or "", 1.0) for label in listed]
