"""Settings of missing features are rejected unless they have their default."""

from pathlib import Path

import pytest

from proxy.config.errors import ConfigError
from proxy.config.load import load
from proxy.config.settings.describe import setting_names
from proxy.config.settings.features import NOT_YET

REFUSED = [
    ("cache.enabled", "cache: {enabled: true}", "cache.enabled", "`false`"),
    ("cache.ttl", "cache: {ttl: 2d}", "cache.ttl", "`86400`"),
]

AT_THEIR_DEFAULT = """
server: {workers: 1, header_timeout: 10000ms, trusted_proxies: []}
store: sqlite
state: memory
dependencies: {store: {fail: open}, state: {fail: open}}
auth: {mode: none, jwt: {issuers: []}}
routing: {classifier: {kind: rules}}
budgets: []
defaults: {user_budget: null, key_limits: {}}
cache: {enabled: false, ttl: 1d}
logs: {access: true, requests: none}
"""


@pytest.mark.parametrize(("row", "text", "where", "default"), REFUSED, ids=[text for _, text, _, _ in REFUSED])
def test_settings_of_missing_features_are_rejected(
    tmp_path: Path, row: str, text: str, where: str, default: str | None
) -> None:
    path = tmp_path / "signalbox.yaml"
    path.write_text(text)

    with pytest.raises(ConfigError) as caught:
        load(path, {})

    [problem] = caught.value.problems
    mend = f"remove it or leave it at {default}" if default else "remove it"
    assert problem.where == where
    assert problem.message == f"{NOT_YET[row].what} is not supported by this version; {mend}"
    assert problem.line is not None


def test_every_row_of_the_table_is_tested() -> None:
    assert {row for row, _, _, _ in REFUSED} == set(NOT_YET)


def test_every_row_of_the_table_is_a_setting() -> None:
    names = setting_names()

    for row in NOT_YET:
        assert any(name == row or name.startswith((f"{row}.", f"{row}[]")) for name in names), row


def test_the_same_settings_at_their_default_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "signalbox.yaml"
    path.write_text(AT_THEIR_DEFAULT)

    assert load(path, {}).settings.store == "sqlite"


def test_store_none_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "signalbox.yaml"
    path.write_text("store: none\n")

    assert load(path, {}).settings.store == "none"
