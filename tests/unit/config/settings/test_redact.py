"""The effective configuration without its secrets."""

import json
from pathlib import Path

from proxy.config.load import load
from proxy.config.settings.redact import redacted

SECRET = "sk-canary-5f3a9c"
TEXT = f"""
state: redis://u:{SECRET}@redis:6379/1
auth: {{admin_token: {SECRET}, pepper: "${{PEPPER:-}}"}}
server: {{drain: 1m, max_body: 1KiB}}
providers:
  p:
    base_url: http://x
    proxy: http://u:{SECRET}@x
    headers: {{h: {SECRET}}}
    keys: [{{id: a, value: {SECRET}}}, {{id: b, value: "${{B}}"}}]
models:
  - {{id: p/m, price: {{input: 0.15, output: 1}}, capabilities: [tools]}}
routing:
  scenarios: {{s: [{{model: p/m, set: {{stop: [a, null]}}}}]}}
"""


def test_secrets_are_stars_when_set_and_null_when_not(tmp_path: Path) -> None:
    path = tmp_path / "signalbox.yaml"
    path.write_text(TEXT)

    shown = redacted(load(path, {}).settings)

    assert (shown["auth"]["admin_token"], shown["auth"]["pepper"]) == ("***", None)
    provider = shown["providers"]["p"]
    assert (provider["proxy"], provider["headers"]) == ("***", {"h": "***"})
    assert [(key["id"], key["value"]) for key in provider["keys"]] == [("a", "***"), ("b", None)]
    assert shown["state"] == "redis://u:***@redis:6379/1"
    assert SECRET not in json.dumps(shown)


def test_other_values_are_shown_as_they_are_in_effect(tmp_path: Path) -> None:
    path = tmp_path / "signalbox.yaml"
    path.write_text(TEXT)

    shown = json.loads(json.dumps(redacted(load(path, {}).settings)))

    assert (shown["server"]["drain"], shown["server"]["max_body"], shown["server"]["port"]) == (60.0, 1024, 8080)
    unset = {"cached_input": None, "cache_write": None, "cache_write_1h": None, "tiers": []}
    assert shown["models"][0]["price"] == {"input": 0.15, "output": 1.0, **unset}
    assert shown["models"][0]["capabilities"] == ["tools"]
    assert shown["routing"]["scenarios"]["s"][0]["set"] == {"stop": ["a", None]}
    assert set(shown) == set(type(load(path, {}).settings).model_fields)
