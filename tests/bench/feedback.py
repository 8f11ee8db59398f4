"""What a deployment learns from labels, measured over its own HTTP interface as an operator would.

    python -m tests.bench.feedback --data FOLDER [--traffic subjects|mathematics] [--seeds N] [--only WORD]

The split: the questions of some categories are the traffic, and the classifier is trained without them. A service
with a weak and a strong model runs before a scripted upstream. A random part of the questions is sent to it, and each
answer is judged with `POST /v1/feedback` by the published result of the model that has answered. Then every other
question goes to `POST /v1/route`, and APGR follows from the order of `profile.score`.

How the labels come: `both` sends each question to both models by name; `route` judges both models for the `id` of
`POST /v1/route`; `one` sends it to one of the models by name, at random; `auto` lets the service choose. Who sends
them: callers without a key, one key, or eight.
"""

from __future__ import annotations

import argparse
import logging
import random
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy

from proxy.routing.classify import trained
from proxy.routing.train.data import Data, Question, read_data
from proxy.routing.train.fit import train
from tests.bench.routing import PAIRS, apgr, out
from tests.support.boxes import ADMIN, Box, boxed
from tests.support.upstreams import Upstream, running

# Questions of many subjects with their options, as in MMLU; mathematics without options, as in GSM8K.
TRAFFIC: dict[str, tuple[tuple[str, ...], int]] = {
    "subjects": (("chemistry", "biology", "economics", "psychology", "computer science"), 1_500),
    "mathematics": (("math",), 300),
    "business": (("business",), 300),
}
WEAK, STRONG = "up/weak", "up/strong"
PEPPER = "of-this-measurement-and-of-nothing-else"
# How labels come, the number of keys that give them, and what is added to `learning`.
RUNS: tuple[tuple[str, int, dict[str, Any]], ...] = (
    ("both", 0, {}),
    ("both", 8, {}),
    ("both", 1, {}),
    ("both", 1, {"key_share": 1}),
    ("route", 0, {}),
    ("one", 0, {}),
    ("auto", 0, {}),
    ("auto", 0, {"explore": 0.1}),
)


def configuration(url: str, folder: Path, learning: dict[str, Any], keys: int) -> dict[str, Any]:
    """Return the configuration of the service."""
    auth: dict[str, Any] = {"admin_token": "admin"}
    return {
        "auth": auth | ({"mode": "keys", "pepper": PEPPER} if keys else {}),
        "store": "sqlite",
        "data_dir": str(folder / "data"),
        "providers": {"up": {"base_url": url, "keys": [{"id": "one", "value": "sk-one-00000000"}]}},
        "models": [
            {"id": WEAK, "tier": "low", "price": {"input": 0.1, "output": 0.1}},
            {"id": STRONG, "tier": "high", "price": {"input": 10, "output": 10}},
        ],
        "routing": {"classifier": {"kind": "model"}},
        "learning": {"enabled": True, **learning},
    }


class Judge:
    """A client that sends questions, and judges the answers by the published results."""

    def __init__(self, box: Box, results: dict[str, Any], keys: int) -> None:
        self._box = box
        self._results = results  # by model, and by text
        self._rng = random.Random(1)
        made = [box.http.post(f"{box.url}/admin/keys", headers=ADMIN, json={"name": f"key {at}"}) for at in range(keys)]
        self._keys = [each.json()["key"] for each in made]
        self._key = self._keys[0] if self._keys else None

    def label(self, text: str, kind: str) -> None:
        """Send a question, and judge the answers, with the same key."""
        self._key = self._rng.choice(self._keys) if self._keys else None
        if kind == "route":
            id = self.routed(text)["id"]
            for model in (WEAK, STRONG):
                self._judge(id, text, model, name_model=True)
            return
        one = self._rng.choice((WEAK, STRONG))
        for model in {"both": (WEAK, STRONG), "one": (one,), "auto": ("auto",)}[kind]:
            answer = self._post("chat/completions", model=model, messages=[{"role": "user", "content": text}])
            chosen = f"up/{answer.headers['x-router-model'].rpartition('/')[2]}" if model == "auto" else model
            self._judge(answer.headers["x-router-id"], text, chosen)

    def routed(self, text: str) -> Any:
        """Return the decision record of a question."""
        return self._post("route", model="auto", messages=[{"role": "user", "content": text}]).json()

    def _judge(self, id: str, text: str, model: str, *, name_model: bool = False) -> None:
        more = {"model": model} if name_model else {}
        self._post("feedback", id=id, score=self._results[model][text], **more)

    def _post(self, path: str, **body: Any) -> Any:
        headers = {"authorization": f"Bearer {self._key}"} if self._key else {}
        answer = self._box.http.post(f"{self._box.url}/v1/{path}", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer


def without(data: Data, categories: Sequence[str]) -> tuple[Data, list[Question]]:
    """Return the data without some categories, and their questions."""
    kept = [question for question in data.questions if question.category not in categories]
    return replace(data, questions=kept), [each for each in data.questions if each.category in categories]


def measured(
    texts: Sequence[str], results: dict[str, Any], count: int, run: tuple[str, int, dict[str, Any]], seed: int
) -> Iterator[tuple[str, float]]:
    """Yield the APGR of the questions without a label before and after the others are judged."""
    kind, keys, learning = run
    order = random.Random(seed).sample(texts, len(texts))
    labelled, rest = order[:count], order[count:]
    weak, strong = (numpy.array([results[model][text] for text in rest]) for model in (WEAK, STRONG))
    with tempfile.TemporaryDirectory() as folder, running(Upstream()) as upstream:
        config = configuration(upstream.url, Path(folder), learning, keys)
        with boxed(Path(folder), config) as box:
            judge = Judge(box, results, keys)
            before = [judge.routed(text)["profile"]["score"] for text in rest]
            for text in labelled:
                judge.label(text, kind)
            state = box.http.post(f"{box.url}/admin/learning/update", headers=ADMIN).json()
            after = [judge.routed(text)["profile"]["score"] for text in rest]
    yield "no labels", apgr(numpy.array(before), weak, strong)
    yield "learned", apgr(numpy.array(after), weak, strong)
    yield "version", float(state["version"] > 0)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Measure what is learned through POST /v1/feedback.")
    parser.add_argument("--data", type=Path, required=True, help="the folder with the training data")
    parser.add_argument("--traffic", choices=sorted(TRAFFIC), default="subjects", help="the questions that are sent")
    parser.add_argument("--seeds", type=int, default=1, help="random choices of the labelled questions")
    parser.add_argument("--pairs", type=int, default=len(PAIRS), help="pairs of models")
    parser.add_argument("--only", default="", help="the runs whose name contains this")
    arguments = parser.parse_args()
    logging.disable(logging.INFO)
    data = read_data(arguments.data)
    categories, count = TRAFFIC[arguments.traffic]
    rest, questions = without(data, categories)
    with tempfile.TemporaryDirectory() as folder:
        trained.FILE = Path(folder) / "model.bin"
        trained.FILE.write_bytes(train(rest))
        trained.load.cache_clear()
        out(f"{f'{arguments.traffic}: APGR after {count} labels':50} none   learned  versions")
        for run in RUNS:
            name = f"{run[0]}, {run[1]} keys{''.join(f', {key} {value}' for key, value in run[2].items())}"
            if arguments.only not in name:
                continue
            found: dict[str, list[float]] = defaultdict(list)
            for pair in PAIRS[: arguments.pairs]:
                shown = {each.with_options if len(categories) > 1 else each.text: each for each in questions}
                results = {
                    model: {text: float(each.results.get(by, False)) for text, each in shown.items()}
                    for model, by in zip((WEAK, STRONG), pair, strict=True)
                }
                for seed in range(arguments.seeds):
                    for label, value in measured(list(shown), results, count, run, seed):
                        found[label].append(value)
            none, learned, version = (statistics.fmean(found[each]) for each in ("no labels", "learned", "version"))
            out(f"{name:50} {none:.3f}  {learned:.3f}    {version:.2f}")


if __name__ == "__main__":
    main()
