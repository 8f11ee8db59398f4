"""The trained classifier: a linear model over a prompt's features, its words and hashed pairs of words.

    difficulty = base + weights . features + sum(table[word]) / words ** 0.75 + terms of the prompt's kind
    task       = the largest of seven such sums, with hashed words and pairs of the instruction, and votes of rules

The model is a file in the package, which `python -m proxy.routing.train` makes: a header in JSON (versions, scales,
weights), the words, and one byte for each word and output. It is loaded at first use. Words that it does not know
contribute nothing. Text in other scripts is judged by its length and shape alone, with low confidence.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from proxy.core.call import Call
from proxy.core.model import TASKS
from proxy.routing.classify.features import BUCKETS, NAMES, Text
from proxy.routing.classify.kinds import Kinds
from proxy.routing.classify.packed import WORDS, rounded
from proxy.routing.classify.prompt import read_prompt
from proxy.routing.classify.rules import Profile, shape_terms, tier_of
from proxy.routing.classify.tasks import votes_of

FILE = Path(__file__).with_name("model.bin")
MAGIC = b"signalbox-classifier\n"
OUTPUTS = ("difficulty", *TASKS)  # the order of the bytes of a word
_FIELD = 24  # bits of one output in a packed sum
_MASK = (1 << _FIELD) - 1
_ZERO = 128  # the byte of a weight of 0
MEDIUM, HIGH = 0.50, 0.62  # difficulties at which the tiers begin: see `docs/routing.md`
_MOST, _LEAST = 10, 0.005  # features of a profile, and their least contribution
EXPONENT = 0.75  # of the number of words
_END = 0.15  # the part of the scale at both ends in which difficulties are compressed


@dataclass(frozen=True, slots=True)
class Reading:
    """The result for one text."""

    difficulty: float  # 0 to 1
    raw: float  # the sum of all terms, of which the difficulty is compressed
    task: str
    confidence: float  # of the task, 0 to 1
    features: tuple[tuple[str, float], ...]  # names and their contributions to the difficulty
    values: Sequence[float]  # the standardised features
    probabilities: Sequence[float]  # of `TASKS`
    hashed: Sequence[tuple[int, int]]  # buckets of words and pairs of words, with their counts


class Model:
    """A loaded model. The outputs of a word are packed into one integer, so that a sum adds all of them at once."""

    def __init__(self, content: bytes) -> None:
        """Raises `ValueError` if the file is damaged or of another version."""
        head, _, payload = content.removeprefix(MAGIC).partition(b"\n")
        if not content.startswith(MAGIC):
            raise ValueError("is not a model of the prompt classifier")
        header: dict[str, Any] = json.loads(head)
        if header["features"] != list(NAMES) or header["outputs"] != list(OUTPUTS) or "kinds" not in header:
            raise ValueError("was trained for other features; train it again")
        if digest_of(head.replace(header["sha256"].encode(), b"", 1), payload) != header["sha256"]:
            raise ValueError("does not match its own hash; install the package again")
        words = unpack_words(payload[: header["words_bytes"]])
        table = payload[header["words_bytes"] :]
        width = len(OUTPUTS)
        self.version: str = header["version"]
        self.sha256: str = header["sha256"]
        self.data: str = header["data"]
        self.quantiles: Sequence[float] = header["quantiles"]
        self._dense: list[list[float]] = header["dense"]
        self._base: list[float] = header["base"]
        self._centre: list[float] = header["centre"]
        self._spread: list[float] = header["spread"]
        self._scales: list[float] = header["scales"]
        self._hash_scale: float = header["hash_scale"]
        self._votes: list[list[float]] = header["votes"]
        self._kinds = Kinds(header["kinds"])
        self._words = {word: _packed(table[at * width : (at + 1) * width]) for at, word in enumerate(words)}
        hashed, tasks = table[len(words) * width :], len(TASKS)
        self._hashed = [_packed(hashed[at * tasks : (at + 1) * tasks]) for at in range(BUCKETS)]

    def read(self, text: str) -> Reading:
        """Return the difficulty and the task of a bounded text."""
        parsed = Text(text)
        values = self._standard(parsed.dense())
        sums, divisor = self._word_sums(parsed), max(len(parsed.words), 1) ** EXPONENT
        terms = [weight * value for weight, value in zip(self._dense[0], values, strict=True)]
        by_words = sums[0] * self._scales[0] / divisor
        hashed = list(parsed.buckets())
        scores = self._task_scores(parsed, values, sums, divisor, hashed)
        best = max(range(len(scores)), key=scores.__getitem__)
        odds = [math.exp(score - scores[best]) for score in scores]
        total = sum(odds)
        probabilities = [each / total for each in odds]
        kinds = self._kinds.terms(parsed, values, probabilities)
        difficulty = self._base[0] + sum(terms) + by_words + sum([term for _, term in kinds])
        known = parsed.is_latin
        features = [*zip(NAMES, terms, strict=True), ("words of the prompt", by_words), *kinds]
        return Reading(
            difficulty=compressed(difficulty),
            raw=difficulty,
            task=TASKS[best],
            confidence=round((1.0 if known else 0.3) / total, 3),
            features=tuple(features),
            values=values,
            probabilities=probabilities,
            hashed=hashed,
        )

    def strongest_words(self, text: str, most: int = 5) -> list[tuple[str, float]]:
        """Return the words with the largest contributions to the difficulty, in both directions."""
        parsed = Text(text)
        divisor = max(len(parsed.words), 1) ** EXPONENT
        mask, scale = _MASK, self._scales[0]
        found = [
            (word, ((self._words[word] & mask) - _ZERO) * scale * times / divisor)
            for word, times in parsed.counts.items()
            if word in self._words
        ]
        ordered = sorted(found, key=lambda pair: (-pair[1], pair[0]))
        harder = [pair for pair in ordered if pair[1] > 0]
        easier = [pair for pair in ordered if pair[1] < 0]
        return harder[:most] + easier[-most:]

    def _standard(self, values: Sequence[float]) -> list[float]:
        """Return features as distances from the training's mean, bounded: odd inputs cannot dominate."""
        return [
            min(2.5, max(-2.5, (value - centre) / spread))
            for value, centre, spread in zip(values, self._centre, self._spread, strict=True)
        ]

    def _word_sums(self, parsed: Text) -> list[int]:
        table = self._words
        found = [table[word] for word in parsed.words if word in table]
        return list(_unpacked(sum(found), len(OUTPUTS), len(found)))

    def _task_scores(
        self, parsed: Text, values: list[float], sums: list[int], divisor: float, found: Sequence[tuple[int, int]]
    ) -> list[float]:
        packed = seen = 0
        for bucket, times in found:
            packed += self._hashed[bucket] * times
            seen += times
        root = max(seen, 1) ** 0.5
        hashed = [value * self._hash_scale / root for value in _unpacked(packed, len(TASKS), seen)]
        votes = [math.log1p(vote) for vote in votes_of(parsed.lowered).values()]
        scores = []
        for at in range(len(TASKS)):
            dense = sum([weight * value for weight, value in zip(self._dense[at + 1], values, strict=True)])
            words = sums[at + 1] * self._scales[at + 1] / divisor
            voted = sum([weight * vote for weight, vote in zip(self._votes[at], votes, strict=True)])
            scores.append(self._base[at + 1] + dense + words + hashed[at] + voted)
        return scores


class TrainedClassifier:
    """The classifier of `routing.classifier.kind: model`."""

    def classify(self, call: Call) -> Profile:
        """Classify the last user turn; `router.task` overrides the task."""
        model = load()
        prompt = read_prompt(call.body)
        reading = model.read(prompt.text)
        shape = shape_terms(prompt, call.body)
        terms = [(name, round(term, 4)) for name, term in (*reading.features, *shape.items())]
        strongest = sorted(
            [term for term in terms if abs(term[1]) >= _LEAST], key=lambda term: (-abs(term[1]), term[0])
        )
        score = round(compressed(reading.raw + sum(shape.values())), 4)
        return Profile(
            task=call.options.task or reading.task,
            tier=tier_of(score, (MEDIUM, HIGH)),
            score=score,
            features=tuple(strongest[:_MOST]),
            confidence=1.0 if call.options.task else reading.confidence,
            classifier=f"model {model.version} {model.sha256[:12]}",
            cuts=(MEDIUM, HIGH),
            inputs=rounded([*reading.values, reading.features[WORDS][1], score, *reading.probabilities]),
            hashed=tuple(reading.hashed),
        )


TRAINED = TrainedClassifier()


@lru_cache(1)
def load() -> Model:
    """Return the package's own model."""
    return Model(FILE.read_bytes())


def digest_of(head: bytes, payload: bytes) -> str:
    """Return the hash of a model's file: of its header, in which `sha256` is empty, and of what follows."""
    return hashlib.sha256(head + b"\n" + payload).hexdigest()


def compressed(difficulty: float) -> float:
    """Return a difficulty between 0 and 1. Those beyond the ends of the scale stay different, and in order."""
    if difficulty > 1.0 - _END:
        return 1.0 - _END + _END * math.tanh((difficulty - 1.0 + _END) / _END)
    return _END - _END * math.tanh((_END - difficulty) / _END) if difficulty < _END else difficulty


def pack_words(words: Sequence[str]) -> bytes:
    """Return sorted words, each as the length of what it shares with the one before, and the rest."""
    out, before = [], ""
    for word in words:
        shared = 0
        while shared < min(len(word), len(before), 25) and word[shared] == before[shared]:
            shared += 1
        out.append(chr(ord("A") + shared) + word[shared:])
        before = word
    return "\n".join(out).encode()


def unpack_words(packed: bytes) -> list[str]:
    """Return the words of `pack_words`."""
    words, before = [], ""
    for line in packed.decode().split("\n"):
        before = before[: ord(line[0]) - ord("A")] + line[1:]
        words.append(before)
    return words


def _packed(values: bytes) -> int:
    """Return bytes as fields of one integer, the first in the lowest bits."""
    packed = 0
    for value in reversed(values):
        packed = packed << _FIELD | value
    return packed


def _unpacked(packed: int, fields: int, terms: int) -> Iterator[int]:
    """Yield the sums of `terms` packed values."""
    for _ in range(fields):
        yield (packed & _MASK) - _ZERO * terms
        packed >>= _FIELD
