"""Warnings about values that have no effect or are probably mistakes, never about defaults."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.load import load

PROVIDER = "providers: {p: {base_url: 'http://localhost/v1', timeouts: %s}}\nmodels: [{id: p/m, timeouts: %s}]"
SOFT = "resilience.deadline.soft: is longer than `hard`, so it is never reached; shorten it or raise `hard`"
OF_PROVIDER = "1: providers.p.timeouts.first_token"
OF_MODEL = "2: models[0].timeouts.first_token"


def warnings(folder: Path, text: str) -> list[str]:
    """What a file is warned of, without its path."""
    path = folder / "signalbox.yaml"
    path.write_text(text)
    return [each.removeprefix(f"{path}:") for each in load(path, {}).warnings]


@pytest.mark.parametrize(
    ("deadline", "warned"),
    [
        ("{soft: 20m, hard: 10m}", True),
        ("{soft: 20m}", True),  # longer than the default of `hard`
        ("{hard: 10s}", False),  # shorter than the default of `soft`
        ("{soft: 10m, hard: 10m}", False),
        ("{}", False),
    ],
)
@pytest.mark.parametrize("preset", ["standard", "bkvy", "simple"])
def test_a_soft_deadline_after_the_hard_one_is_a_warning(
    tmp_path: Path, deadline: str, warned: bool, preset: str
) -> None:
    found = warnings(tmp_path, f"resilience:\n  preset: {preset}\n  deadline: {deadline}")

    assert found == ([f"3: {SOFT}"] if warned else [])


@pytest.mark.parametrize(
    ("provider", "model", "where"),
    [
        ("{first_token: 20m, total: 1m}", "{}", [OF_PROVIDER]),
        ("{first_token: 20m}", "{}", [OF_PROVIDER]),
        ("{}", "{first_token: 20m, total: 1m}", [OF_MODEL]),
        ("{}", "{first_token: 20m}", [OF_MODEL]),
        ("{total: 1m}", "{first_token: 2m}", [OF_MODEL]),
        ("{first_token: 20m, total: 1m}", "{first_token: 30s}", [OF_PROVIDER]),
        ("{total: 1m}", "{}", []),  # shorter than the default of `first_token`
        ("{}", "{total: 1m}", []),
        ("{first_token: 3m}", "{total: 1m}", []),  # the model's own, which is to be shorter than the general one
        ("{total: 1m}", "{first_token: 2m, total: 3m}", []),
        ("{first_token: 1m, total: 1m}", "{}", []),
    ],
)
def test_a_first_token_timeout_over_the_total_is_a_warning(
    tmp_path: Path, provider: str, model: str, where: list[str]
) -> None:
    found = warnings(tmp_path, PROVIDER % (provider, model))

    mend = "is longer than `total`, which limits the whole attempt; shorten it or raise `total`"
    assert found == [f"{each}: {mend}" for each in where]


def test_default_timeouts_of_reasoning_models_are_no_warning(tmp_path: Path) -> None:
    text = "providers: {p: {base_url: 'http://localhost/v1'}}\n"
    text += "models: [{id: p/m, capabilities: [reasoning], timeouts: {total: 1m}}]"

    assert warnings(tmp_path, text) == []


@pytest.mark.parametrize("name", ["connect", "idle"])
@pytest.mark.parametrize("where", ["providers.p", "models[0]"])
def test_a_timeout_over_the_total_is_a_warning(tmp_path: Path, name: str, where: str) -> None:
    timeouts = f"{{{name}: 2m, total: 1m}}"
    text = PROVIDER % ((timeouts, "{}") if where == "providers.p" else ("{}", timeouts))

    [found] = warnings(tmp_path, text)

    assert found.partition(": ")[2].startswith(f"{where}.timeouts.{name}: is longer than `total`")


@pytest.mark.parametrize(
    ("model", "warned"),
    [
        ("price: {input: 0.00000015, output: 0.0000006}", ["price.input", "price.output"]),
        ("price: {input: 0.005, output: 0}", []),
        ("price: {input: 0, output: 0}", []),
        ("context_window: 8k, max_output: 128k", ["max_output"]),
        ("context_window: 128k, max_output: 128k", []),
        ("max_output: 128k", []),
    ],
)
def test_implausible_numbers_of_a_model_are_warnings(tmp_path: Path, model: str, warned: list[str]) -> None:
    found = warnings(tmp_path, f"providers: {{p: {{base_url: 'http://localhost/v1'}}}}\nmodels: [{{id: p/m, {model}}}]")

    assert [each.split(": ")[1] for each in found] == [f"models[0].{name}" for name in warned]


@pytest.mark.parametrize(
    ("folder", "warned"), [("~/state", True), ("$HOME/state", True), ("$${HOME}/x", True), ("/a~b", False)]
)
def test_a_path_that_is_not_expanded_is_a_warning(tmp_path: Path, folder: str, warned: bool) -> None:
    assert bool(warnings(tmp_path, f"data_dir: '{folder}'")) is warned


def test_cors_for_every_web_page_is_a_warning(tmp_path: Path) -> None:
    every = warnings(tmp_path, "server: {cors: {origins: ['*', 'https://a.example']}}")
    listed = warnings(tmp_path, "server: {cors: {origins: ['https://a.example']}}")

    assert [each.partition(": contains `*`")[0] for each in every] == ["1: server.cors.origins"]
    assert listed == []


@pytest.mark.parametrize(("size", "warned"), [("1", True), ("63MiB", True), ("64MiB", False), ("0", False)])
def test_a_watermark_below_an_idle_process_is_a_warning(tmp_path: Path, size: str, warned: bool) -> None:
    found = warnings(tmp_path, f"server: {{memory_watermark: {size}}}")

    assert ["server.memory_watermark" in line for line in found] == [True] * warned


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        ("store: postgresql://u:p@host/database", True),
        ("state: redis://host", True),
        ("store: sqlite", False),
        (f"store: postgresql://u:p@host/database\nauth: {{encryption_key: {'k' * 32}}}", False),
    ],
)
def test_replicas_without_an_encryption_key_are_a_warning(tmp_path: Path, text: str, warned: bool) -> None:
    assert ["auth.encryption_key" in each for each in warnings(tmp_path, text)] == [True] * warned


@pytest.mark.parametrize(
    ("learning", "names"),
    [
        (
            "{signals: true, comments: true, explore: 0.1, judge: {model: p/m}}",
            ["signals", "comments", "explore", "judge"],
        ),
        ("{signals: true, enabled: true}", []),
        ("{signals: true, enabled: false}", []),  # switched off on purpose
        ("{signals: false, min_labels: 50}", []),
    ],
)
def test_a_part_of_learning_without_learning_is_a_warning(tmp_path: Path, learning: str, names: list[str]) -> None:
    found = warnings(
        tmp_path,
        "providers: {p: {base_url: 'http://localhost/v1'}}\nmodels: [{id: p/m}]\n"
        f"routing: {{classifier: {{kind: model}}}}\nlearning: {learning}",
    )

    without = "has no effect without `learning.enabled: true`; add it, or remove this"
    assert found == [f"4: learning.{name}: {without}" for name in names]
