"""The section `resilience`: values, presets, and the policies of the snapshot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest

from proxy.config.compile.snapshot import compile_snapshot
from proxy.config.errors import ConfigError
from proxy.config.load import load
from proxy.config.settings.describe import json_schema, setting_names
from proxy.config.settings.presets import PRESETS, Preset
from proxy.config.settings.resilience import FailureSettings
from proxy.core.failures import RULES, FailureRule
from proxy.core.policies import (
    BreakerPolicy,
    HedgePolicy,
    ProbePolicy,
    QueuePolicy,
    RetryPolicy,
    SlowPolicy,
)
from proxy.core.snapshot import Snapshot


def compiled(folder: Path, text: str, environ: dict[str, str] | None = None) -> Snapshot:
    """The snapshot of a file whose section `resilience` is this."""
    path = folder / "signalbox.yaml"
    path.write_text(f"resilience: {text}\n")
    return compile_snapshot(load(path, environ or {}).settings)


def problems(folder: Path, text: str) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        compiled(folder, text)
    return [(problem.where, problem.message) for problem in caught.value.problems]


# what is given


def test_the_defaults_are_those_of_the_tables(tmp_path: Path) -> None:
    snapshot = compiled(tmp_path, "{}")

    assert dict(snapshot.failures) == dict(RULES)
    assert snapshot == compiled(tmp_path, "{preset: standard}")
    assert (snapshot.slow, snapshot.hedge, snapshot.probes) == (SlowPolicy(), HedgePolicy(), ProbePolicy())
    assert (snapshot.retry, snapshot.breaker, snapshot.queue) == (RetryPolicy(), BreakerPolicy(), QueuePolicy())


def test_every_value_reaches_the_snapshot(tmp_path: Path) -> None:
    snapshot = compiled(
        tmp_path,
        """
  retry: {attempts: 9, stale_post: false, budget: {share: 0.5, floor: 1}}
  queue: {size: 7, max_wait: 2s}
  mid_stream: continue
  slow_calls: {enabled: false, times: 3, at_least: 2s}
  probes: {enabled: false, chat: true}
  hedge: {enabled: true, percentile: 0.9, samples: 5}
""",
    )

    assert snapshot.retry == RetryPolicy(attempts=9, stale_post=False, share=0.5, floor=1.0)
    assert snapshot.queue == QueuePolicy(size=7, max_wait=2.0)
    assert snapshot.mid_stream == "continue"
    assert snapshot.slow == SlowPolicy(enabled=False, times=3.0, at_least=2.0)
    assert snapshot.probes == ProbePolicy(enabled=False, chat=True)
    assert snapshot.hedge == HedgePolicy(enabled=True, percentile=0.9, samples=5)


@pytest.mark.parametrize("name", RULES)
def test_a_failure_class_overrides_only_the_given_fields(tmp_path: Path, name: Any) -> None:
    snapshot = compiled(tmp_path, f"{{failures: {{{name}: {{retries: 3, backoff: 1s, open: 7s, key: everywhere}}}}}}")

    given = {"retries": 3, "backoff": 1.0, "open": 7.0, "key": "everywhere"}
    expected = {each: getattr(RULES[name], each) for each in FailureRule.__slots__} | given
    assert snapshot.failures[name] == FailureRule(**expected)
    assert {other: rule for other, rule in snapshot.failures.items() if other != name} == {
        other: rule for other, rule in RULES.items() if other != name
    }


def test_a_cooldown_may_not_exceed_its_own_maximum(
    tmp_path: Path,
) -> None:
    rule = compiled(tmp_path, "{failures: {auth: {rest: 2d}}}").failures["auth"]

    assert (rule.rest, rule.max_rest) == (2 * 86_400.0, 2 * 86_400.0)
    assert compiled(tmp_path, "{failures: {auth: {max_rest: 90s}}}").failures["auth"].max_rest == 90.0
    assert problems(tmp_path, "{failures: {auth: {rest: 2d, max_rest: 1d}}}") == [
        ("resilience.failures.auth", "has a `rest` longer than its `max_rest`; shorten it or raise `max_rest`")
    ]


WRONG = [
    (
        "{failures: {ratelimit: {retries: 1}}}",
        "resilience.failures.ratelimit",
        "must be `rate_limit`, `server_error`, `auth`, `timeout`, `target`, `content` or `unknown`",
    ),
    ("{failures: {auth: {kee: none}}}", "resilience.failures.auth.kee", "unknown setting `kee`; did you mean `key`?"),
    ("{failures: {auth: {key: some}}}", "resilience.failures.auth.key", "must be `none`, `model` or `everywhere`"),
    ("{failures: {auth: {retries: -1}}}", "resilience.failures.auth.retries", "must be at least 0"),
    ("{failures: 3}", "resilience.failures", "must be a mapping of names to values"),
    ("{preset: bkwy}", "resilience.preset", "must be `standard`, `bkvy` or `simple`; did you mean `bkvy`?"),
    ("{preset: [bkvy]}", "resilience.preset", "must be `standard`, `bkvy` or `simple`"),
    ("{preset: bkvy, failures: 3}", "resilience.failures", "must be a mapping of names to values"),
    ("{preset: bkvy, retry: {attempts: 0}}", "resilience.retry.attempts", "must be at least 1"),
    ("{hedge: {samples: 101}}", "resilience.hedge.samples", "must be at most 100"),
    ("{hedge: {percentile: 1}}", "resilience.hedge.percentile", "must be less than 1"),
    ("{slow_calls: {times: 1}}", "resilience.slow_calls.times", "must be more than 1"),
    ("{retry: {budget: {share: 2}}}", "resilience.retry.budget.share", "must be at most 1.0"),
    ("{queue: {size: -1}}", "resilience.queue.size", "must be at least 0"),
    ("{mid_stream: resume}", "resilience.mid_stream", "must be `terminate` or `continue`"),
]


@pytest.mark.parametrize(("text", "where", "message"), WRONG, ids=[text for text, _, _ in WRONG])
def test_invalid_values_are_reported_at_their_path(tmp_path: Path, text: str, where: str, message: str) -> None:
    assert problems(tmp_path, text) == [(where, message)]


# presets


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_equals_a_file_with_its_values(tmp_path: Path, name: str) -> None:
    written = compiled(tmp_path, json.dumps(PRESETS[name]))
    chosen = compiled(tmp_path, f"{{preset: {name}}}")

    assert (chosen.failures, chosen.breaker, chosen.retry) == (written.failures, written.breaker, written.retry)


def test_the_presets_are_those_that_can_be_chosen() -> None:
    assert set(PRESETS) == set(get_args(Preset))


def test_the_preset_of_bkvy_has_its_numbers(tmp_path: Path) -> None:
    snapshot = compiled(tmp_path, "{preset: bkvy}")

    rules = snapshot.failures
    assert {name: (rule.retries, rule.breaker, rule.open) for name, rule in rules.items()} == {
        "rate_limit": (0, True, 60.0),
        "server_error": (3, True, 30.0),
        "auth": (0, True, None),
        "timeout": (5, True, 10.0),
        "target": (1, True, None),
        "content": (1, False, None),
        "unknown": (2, False, 10.0),
    }
    assert (rules["auth"].key, rules["auth"].rest, rules["auth"].max_rest) == ("everywhere", 86_400.0, 86_400.0)
    assert (rules["rate_limit"].key, rules["rate_limit"].rest) == ("model", 60.0)
    assert (snapshot.breaker.consecutive, snapshot.retry.attempts, snapshot.retry.same_target) == (3, 8, 3)


def test_the_simple_preset_always_opens_for_a_minute(tmp_path: Path) -> None:
    breaker = compiled(tmp_path, "{preset: simple}").breaker

    assert (breaker.consecutive, breaker.open, breaker.max_open) == (3, 60.0, 60.0)


def test_single_values_override_a_preset(tmp_path: Path) -> None:
    plain = compiled(tmp_path, "{preset: bkvy}")
    snapshot = compiled(
        tmp_path, "{preset: bkvy, retry: {attempts: 2}, failures: {timeout: {retries: 1}}, queue: {size: 3}}"
    )

    assert (snapshot.retry.attempts, snapshot.retry.same_target) == (2, 3)
    timeout = snapshot.failures["timeout"]
    assert (timeout.retries, timeout.open, timeout.max_open) == (1, 10.0, 300.0)
    assert {name: rule for name, rule in snapshot.failures.items() if name != "timeout"} == {
        name: rule for name, rule in plain.failures.items() if name != "timeout"
    }
    assert snapshot.queue.size == 3
    assert snapshot.breaker == plain.breaker


@pytest.mark.parametrize("text", ["{preset: simple, breaker: }", "{preset: simple, breaker: {}}"])
def test_an_empty_section_beside_a_preset_equals_an_absent_one(tmp_path: Path, text: str) -> None:
    assert compiled(tmp_path, text).breaker == compiled(tmp_path, "{preset: simple}").breaker


def test_a_preset_may_come_from_the_environment(tmp_path: Path) -> None:
    snapshot = compiled(tmp_path, '{preset: "${PRESET}"}', {"PRESET": "bkvy"})

    assert snapshot.retry.attempts == 8


def test_a_value_that_contradicts_its_preset_is_rejected(tmp_path: Path) -> None:
    assert problems(tmp_path, "{preset: bkvy, failures: {auth: {rest: 2d}}}") == [
        (
            "resilience.failures.auth",
            "has a `rest` longer than its `max_rest`; shorten it or raise `max_rest`. "
            "`max_rest` comes from the preset `bkvy`; set it in the file too",
        )
    ]


TOO_SHORT = "`max_open` must be at least as long as `open`; raise it or shorten `open`"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{preset: simple, breaker: {open: 5m}}",
            f"{TOO_SHORT}. `max_open` comes from the preset `simple`; set it in the file too",
        ),
        (
            "{preset: simple, breaker: {max_open: 5s}}",
            f"{TOO_SHORT}. `open` comes from the preset `simple`; set it in the file too",
        ),
        ("{preset: simple, breaker: {open: 5m, max_open: 4m}}", TOO_SHORT),
        ("{preset: standard, breaker: {open: 5h}}", TOO_SHORT),
        ("{breaker: {open: 5h}}", TOO_SHORT),
    ],
)
def test_errors_name_values_that_come_from_the_preset(tmp_path: Path, text: str, message: str) -> None:
    assert problems(tmp_path, text) == [("resilience.breaker", message)]


# what the schema says of it


def test_every_value_of_a_class_is_a_setting_with_its_name() -> None:
    names = setting_names()

    for field in FailureSettings.model_fields:
        assert f"resilience.failures.*.{field}" in names
    assert set(FailureSettings.model_fields) == set(FailureRule.__slots__)


@pytest.mark.parametrize(
    ("section", "sound"),
    [
        ({"preset": "bkvy", "failures": {"timeout": {"retries": 1, "open": "5s"}}}, True),
        ({"failures": {"timeouts": {"retries": 1}}}, False),
        ({"preset": "mine"}, False),
    ],
)
def test_the_json_schema_knows_presets_and_classes(section: dict[str, Any], sound: bool) -> None:
    validator = jsonschema.Draft202012Validator(json_schema())

    assert validator.is_valid({"resilience": section}) is sound
