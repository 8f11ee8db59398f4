"""The compact form of a profile's inputs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.core.model import TASKS
from proxy.routing.classify.features import BUCKETS
from proxy.routing.classify.packed import FIRST_TASK, LENGTH, SCORE, pack, unpack
from proxy.routing.classify.rules import RULES
from proxy.routing.classify.trained import TRAINED
from tests.unit.routing.build import call

PROMPT = "Prove that the sum of two odd numbers is even, and that of an odd and an even one is odd. Why? Why?"


def test_a_profile_is_read_again_as_it_was_kept() -> None:
    profile = TRAINED.classify(call("auto", PROMPT))

    packed = pack(profile)

    assert packed is not None
    assert unpack(packed) == (profile.inputs, profile.hashed)
    assert len(packed) == 1 + 2 * LENGTH + 2 * len(profile.hashed)


def test_the_inputs_have_the_score_and_the_probabilities_of_tasks() -> None:
    profile = TRAINED.classify(call("auto", PROMPT))

    tasks = profile.inputs[FIRST_TASK:]

    assert profile.inputs[SCORE] == pytest.approx(profile.score, abs=1e-3)
    assert sum(tasks) == pytest.approx(1.0, abs=1e-2)
    assert TASKS[tasks.index(max(tasks))] == profile.task


def test_every_bucket_and_count_survives() -> None:
    hashed = ((0, 1), (BUCKETS - 1, 3), (77, 2))

    packed = pack(replace(TRAINED.classify(call("auto", PROMPT)), hashed=hashed))

    assert packed is not None
    assert unpack(packed)[1] == hashed


def test_a_profile_without_inputs_is_not_kept() -> None:
    assert pack(RULES.classify(call("auto", PROMPT))) is None


@pytest.mark.parametrize("packed", [b"", b"\x01", b"\x02" + bytes(2 * LENGTH), b"\x01" + bytes(2 * LENGTH + 1)])
def test_other_versions_and_damaged_features_are_rejected(packed: bytes) -> None:
    with pytest.raises(ValueError, match="another version"):
        unpack(packed)
