"""What each mode of authentication needs is checked when the file is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.errors import ConfigError
from tests.unit.config.files import loaded

PEPPER = "p" * 32
ISSUER = "{issuer: 'https://i', audience: a, jwks_url: 'https://i/keys'}"


def problems(folder: Path, text: str) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text)
    return [(problem.where, problem.message) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("auth: {mode: keys}", "auth.mode", "`auth.pepper`"),
        ("auth: {mode: keys, pepper: '${P:-}'}", "auth.mode", "`auth.pepper`"),
        (f"store: none\nauth: {{mode: keys, pepper: {PEPPER}}}", "auth.mode", "`store`"),
        ("auth: {mode: jwt}", "auth.mode", "`auth.jwt.issuers`"),
        (f"auth: {{mode: keys+jwt, jwt: {{issuers: [{ISSUER}]}}}}", "auth.mode", "`auth.pepper`"),
        (f"auth: {{pepper: {PEPPER[1:]}}}", "auth.pepper", "32 bytes"),
        ("auth: {previous_peppers: [short]}", "auth.previous_peppers[0]", "32 bytes"),
        (f"auth: {{jwt: {{issuers: [{ISSUER}, {ISSUER}]}}}}", "auth.jwt.issuers[1].issuer", "twice"),
        ("auth: {mode: token}", "auth.mode", "`keys+jwt`"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, text: str, where: str, words: str) -> None:
    [(place, message)] = problems(tmp_path, text)

    assert place == where
    assert words in message


@pytest.mark.parametrize(
    "text",
    [
        f"auth: {{mode: keys, pepper: {PEPPER}}}",
        f"auth: {{mode: jwt, jwt: {{issuers: [{ISSUER}]}}}}",
        f"store: none\nauth: {{mode: jwt, jwt: {{issuers: [{ISSUER}]}}}}",
        f"auth: {{mode: keys+jwt, pepper: {PEPPER}, jwt: {{issuers: [{ISSUER}]}}}}",
        f"auth: {{pepper: {PEPPER}, previous_peppers: [{PEPPER}x]}}",
        "defaults: {key_limits: {rpm: 5, tpd: 1000}}",
    ],
)
def test_a_complete_section_is_accepted(tmp_path: Path, text: str) -> None:
    assert loaded(tmp_path, text).settings.data_dir
