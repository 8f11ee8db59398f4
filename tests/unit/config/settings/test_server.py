"""The section `server`: normalisation and checks of origins, hosts and proxies."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.errors import ConfigError
from proxy.config.load import load
from proxy.config.settings.server import ServerSettings


def server(folder: Path, text: str) -> ServerSettings:
    path = folder / "signalbox.yaml"
    path.write_text(f"server: {text}\n")
    return load(path, {}).settings.server


def test_names_are_normalised(tmp_path: Path) -> None:
    found = server(
        tmp_path,
        "{cors: {origins: ['HTTPS://App.Example:443/', 'http://localhost:3000', '*', 'http://[::1]:80'],"
        " headers: [X-Tenant, 'x-app-*'], max_age: 5m}, hosts: [LLM.example., '*.team.example'],"
        " trusted_proxies: [10.0.0.1/8, '::1']}",
    )

    assert found.cors.origins == ("https://app.example", "http://localhost:3000", "*", "http://[::1]")
    assert (found.cors.headers, found.cors.max_age) == (("x-tenant", "x-app-*"), 300.0)
    assert found.hosts == ("llm.example", "*.team.example")
    assert found.trusted_proxies == ("10.0.0.1/8", "::1")


def test_web_pages_of_other_origins_are_not_listed_by_default(tmp_path: Path) -> None:
    found = server(tmp_path, "{}")

    assert (found.cors.origins, found.cors.headers, found.cors.max_age, found.hosts) == ((), (), 600.0, ())


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ("{cors: {origins: [app.example]}}", "server.cors.origins", "https://app.example"),
        ("{cors: {origins: ['https://app.example/path']}}", "server.cors.origins", "https://app.example"),
        ("{cors: {origins: ['https://*.example']}}", "server.cors.origins", "https://app.example"),
        ("{cors: {origins: ['null']}}", "server.cors.origins", "https://app.example"),
        ("{cors: {headers: ['a b']}}", "server.cors.headers", "x-tenant"),
        ("{hosts: ['https://llm.example']}", "server.hosts", "llm.example"),
        ("{hosts: ['llm.example:8080']}", "server.hosts", "llm.example"),
        ("{hosts: ['*']}", "server.hosts", "llm.example"),
        ("{trusted_proxies: [front]}", "server.trusted_proxies", "10.0.0.0/8"),
        ("{trusted_proxies: [10.0.0.1:80]}", "server.trusted_proxies", "10.0.0.0/8"),
    ],
)
def test_names_that_can_never_match_are_rejected(tmp_path: Path, text: str, where: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        server(tmp_path, text)

    [problem] = caught.value.problems
    assert problem.where == where
    assert said in problem.message
