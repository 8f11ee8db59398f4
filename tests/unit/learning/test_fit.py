"""Versions: what is learned from labels, and the check before one serves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

from proxy.core.learning import LearningRules
from proxy.learning.check import Judged
from proxy.learning.fit import ALONE, examples_of, fit_and_check, profile_of
from proxy.learning.labels import Label
from proxy.learning.ridge import finish
from proxy.routing.learned import LearnedPredictor, ScoreMap, State, decode, encode
from proxy.routing.predict import PRIOR
from tests.unit.learning.build import EASY, HARD, STRONG, WEAK, label, profile, world
from tests.unit.routing.build import HAIKU, MINI, OPUS

TIERS: Any = {WEAK: "low", STRONG: "high"}
RULES = LearningRules()


def fitted(labels: list[Label], serving: State | None = None, tiers: Any = TIERS) -> State | None:
    state: State | None = finish(fit_and_check(7, finish(examples_of(labels, 0.2)), tiers, RULES, serving))
    return state


@pytest.fixture(scope="module")
def learned() -> LearnedPredictor:
    state = fitted(world(400))
    assert state is not None
    return LearnedPredictor(decode(encode(state)))


def test_the_weak_model_is_predicted_to_fail_where_it_failed(learned: LearnedPredictor) -> None:
    easy, hard = learned.revise(profile(EASY, 3)), learned.revise(profile(HARD, 3))

    assert learned.success(easy, MINI, "low") > 0.8
    assert learned.success(hard, MINI, "low") < 0.4
    assert learned.success(hard, OPUS, "high") > 0.8


def test_the_score_says_where_the_strong_model_is_better(learned: LearnedPredictor) -> None:
    easy, hard = learned.revise(profile(EASY, 3)), learned.revise(profile(HARD, 3))

    assert hard.score > easy.score + 0.05
    assert learned.version == "learned 7"


def test_what_was_learned_is_among_the_features_beside_stronger_ones(learned: LearnedPredictor) -> None:
    strong = replace(profile(HARD, 3), features=(("numbers", 0.9), ("words", 0.8)))

    names = [name for name, _ in learned.revise(strong).features]

    assert names == ["numbers", "learned from feedback"]


def test_the_needed_success_is_that_of_the_learned_models_of_the_tier(learned: LearnedPredictor) -> None:
    hard = learned.revise(profile(HARD, 3))

    assert learned.required(hard, "low") == learned.success(hard, MINI, "low")
    assert learned.required(hard, "high") == learned.success(hard, OPUS, "high")


def test_a_model_without_labels_is_moved_like_the_learned_ones() -> None:
    state = fitted([each for each in world(400) if each.model == WEAK])
    assert state is not None
    predictor = LearnedPredictor(state)
    hard = predictor.revise(profile(HARD, 3))

    assert predictor.success(hard, MINI, "low") < PRIOR.success(hard, MINI, "low") - 0.2
    assert predictor.success(hard, HAIKU, "low") == pytest.approx(predictor.success(hard, MINI, "low"))


def test_a_profile_without_inputs_stays_as_it_is(learned: LearnedPredictor) -> None:
    bare = replace(profile(HARD), inputs=(), hashed=())

    assert learned.revise(bare) is bare
    assert learned.success(bare, MINI, "low") == PRIOR.success(bare, MINI, "low")
    assert learned.required(bare, "high") == PRIOR.required(bare, "high")


def test_the_same_labels_in_another_order_give_the_same_version() -> None:
    labels = world(150)

    assert encode(fitted(labels) or State(0, 0, 0, {})) == encode(fitted(labels[::-1]) or State(1, 0, 0, {}))


def test_nothing_is_learned_from_fewer_labels_than_needed() -> None:
    assert fitted(world(99)) is None


def test_a_model_with_few_labels_is_learned_beside_others() -> None:
    labels = [each for number, each in enumerate(world(300)) if each.model == STRONG or number < 80]
    state, few = fitted(labels), fitted(labels[40:170])

    assert state is not None
    assert {name: each.labels for name, each in state.models.items()} == {STRONG: 300, WEAK: 40}
    assert state.score is not None
    assert few is not None
    assert set(few.models) == {STRONG}


def scale_of(labels: list[Label]) -> ScoreMap:
    state = fitted(labels)
    assert state is not None
    assert state.score is not None
    return state.score


def test_without_pairs_the_success_of_strong_models_counts_less() -> None:
    both = scale_of(world(400))
    one = scale_of([each for number, each in enumerate(world(800)) if number % 4 in (0, 3)])

    assert (both.strong, both.share) == (1.0, 0.8)
    assert one.strong == pytest.approx(ALONE, abs=0.05)
    assert one.share == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize(
    ("cut", "strong", "share"),
    [
        (20, ALONE / 2, 0.8),  # both sides have 400 labels
        (30, ALONE / 4, 0.75 * 200 / 300),  # strong models have 200 of 800
    ],
)
def test_where_the_score_has_chosen_weak_models_count_more(cut: int, strong: float, share: float) -> None:
    labels = [each for each in world(800) if (each.model == STRONG) == (int(each.call_id[4:]) % 40 >= cut)]

    chosen = scale_of(labels)

    assert (chosen.strong, chosen.share) == (pytest.approx(strong), pytest.approx(share, abs=1e-3))


def test_all_labels_of_a_prompt_are_held_out_together() -> None:
    labels = world(50)
    pairs = zip(labels[::2], labels[1::2], strict=True)

    assert all(Judged.is_held_out(weak) == Judged.is_held_out(strong) for weak, strong in pairs)
    assert 0 < sum(map(Judged.is_held_out, labels)) < len(labels)


def test_one_key_alone_teaches_nothing() -> None:
    assert fitted([label(number, WEAK, 0.0, EASY, key_id="only") for number in range(900)]) is None


def test_a_version_passes_the_check_and_has_its_numbers() -> None:
    state = fitted(world(400))

    assert state is not None
    assert state.check["passed"]
    assert state.check["error"] < state.check["error_of_prior"]
    assert state.check["value"] >= 0


def test_a_version_that_predicts_worse_than_the_prior_is_not_used() -> None:
    labels = world(400)
    for number, made in enumerate(labels):  # those that are held out contradict the others
        if Judged.is_held_out(made) and made.model == WEAK:
            labels[number] = structs.replace(made, score=1.0 - made.score)

    state = fitted(labels)

    assert state is not None
    assert not state.check["passed"]
    assert state.check["reason"]


def test_weak_models_alone_leave_the_score() -> None:
    state = fitted([each for each in world(400) if each.model == WEAK])

    assert state is not None
    assert state.score is None
    assert LearnedPredictor(state).revise(profile(HARD, 3)).score == profile(HARD, 3).score


def test_without_tiers_the_model_with_the_better_scores_is_strong() -> None:
    without = fitted(world(400), tiers=dict.fromkeys(TIERS))
    same = fitted(world(400), tiers=dict.fromkeys(TIERS, "low"))

    assert without is not None
    assert without.score is not None
    assert (without.score.low, without.score.high) == ((WEAK,), (STRONG,))
    assert same is not None
    assert same.score is None


def test_models_that_are_not_configured_are_not_learned() -> None:
    assert fitted([label(number, "gone/model", 1.0, EASY) for number in range(300)]) is None


def test_features_of_another_version_are_left_out() -> None:
    labels = [label(1, WEAK, 1.0, EASY, features=b"\x09abc"), label(2, WEAK, 1.0, EASY)]

    assert profile_of(b"\x09abc") is None
    assert [example.label.call_id for example in finish(examples_of(labels, 1.0))] == ["req_2"]


def test_work_is_done_in_many_slices() -> None:
    labels, rules = world(1_000), LearningRules()

    examples = finish(examples_of(labels, 1.0))

    assert sum(1 for _ in examples_of(labels, 1.0)) >= 40
    assert sum(1 for _ in fit_and_check(1, examples, TIERS, rules, None)) > 300
