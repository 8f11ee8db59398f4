"""The tasks of prompts that have none in the training data."""

from __future__ import annotations

from proxy.routing.train.labels import tasks_of


def test_a_prompt_has_the_task_of_its_label_its_name_or_its_cluster() -> None:
    rows = [
        {"source": "p3-t0", "task": "writing"},
        {"source": "self-instruct-seed", "task": None, "name": "text_to_sql"},
        {"source": "self-instruct-seed", "task": None, "name": "unknown"},
        {"source": "arena-hard-v0.1", "task": None, "cluster": "Python & SQL, Queries"},
        {"source": "other", "task": None},
    ]

    assert tasks_of(rows) == ["writing", "code", None, "code", None]


def test_other_prompts_have_the_task_of_their_position() -> None:
    user = [{"source": "self-instruct-user", "task": None}] * 4
    labelled = {"source": "self-instruct-user", "task": "math"}

    assert tasks_of([*user[:3], labelled, *user[3:]]) == ["writing", "analysis", "writing", "math", "extraction"]


def test_prompts_without_a_letter_have_no_task() -> None:
    assert tasks_of([{"source": "self-instruct-user", "task": None}] * 400)[-1] is None
