"""Warnings about implausible addresses, with the likely correct one."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.check.addresses import implausible, implausible_proxy, is_public
from proxy.core.dialects import DialectName
from tests.unit.config.files import loaded

GEMINI = "https://generativelanguage.googleapis.com"
VERTEX = "https://aiplatform.googleapis.com/v1/projects/p/locations/global/publishers/google"

WRONG: list[tuple[DialectName, str, str]] = [
    ("openai", "https://api.openai.com/v1/chat/completions", "https://api.openai.com/v1"),
    ("openai", "https://api.openai.com/v1/completions", "https://api.openai.com/v1"),
    ("openai", "https://api.openai.com/v1/embeddings", "https://api.openai.com/v1"),
    ("openai", "https://api.openai.com/v1/responses", "https://api.openai.com/v1"),
    ("openai", "https://api.openai.com/v1/models", "https://api.openai.com/v1"),
    ("openai", "https://api.openai.com/v1/images/generations", "https://api.openai.com/v1"),
    ("openai", "https://api.openai.com/v1/audio/speech", "https://api.openai.com/v1"),
    ("openai", "https://api.openai.com/v1/v1", "https://api.openai.com/v1"),
    ("openai", "https://api.openai.com//v1", "https://api.openai.com/v1"),
    ("openai", "https://api.openai.com", "https://api.openai.com/v1"),
    ("openai", "https://api.openai.com/chat/completions", "https://api.openai.com/v1"),
    ("openai", "https://api.openai.com/v1beta", "https://api.openai.com/v1"),
    ("openai", "https://api.anthropic.com/v1/messages", "https://api.anthropic.com/v1"),
    ("openai", "https://api.groq.com/v1", "https://api.groq.com/openai/v1"),
    ("openai", "https://api.groq.com/openai", "https://api.groq.com/openai/v1"),
    ("openai", "https://openrouter.ai/v1", "https://openrouter.ai/api/v1"),
    ("openai", "https://openrouter.ai/api", "https://openrouter.ai/api/v1"),
    ("openai", "https://api.deepseek.com/chat/completions", "https://api.deepseek.com"),
    ("openai", GEMINI, f"{GEMINI}/v1beta/openai"),
    ("openai", f"{GEMINI}/v1beta", f"{GEMINI}/v1beta/openai"),
    ("openai", "https://platform.openai.com", "https://api.openai.com/v1"),
    ("openai", "https://chatgpt.com/v1", "https://api.openai.com/v1"),
    ("openai", "https://console.groq.com", "https://api.groq.com/openai/v1"),
    ("openai", "http://api.openai.com/v1", "https://api.openai.com/v1"),
    ("openai", "http://8.8.8.8/v1", "https://8.8.8.8/v1"),
    ("openai", "http://llm.example.com:8000/v1", "https://llm.example.com:8000/v1"),
    ("openai", "https://api.openai.com:80/v1", "https://api.openai.com/v1"),
    ("openai", "http://10.0.0.1:443/v1", "https://10.0.0.1/v1"),
    ("openai", "http://127.0.0.1:11434", "http://127.0.0.1:11434/v1"),
    ("openai", "http://127.0.0.1:11434/api", "http://127.0.0.1:11434/v1"),
    ("openai", "http://ollama/api/chat", "http://ollama/v1"),
    ("openai", "http://ollama/api/generate", "http://ollama/v1"),
    ("openai", "https://https://api.openai.com/v1", "https://api.openai.com/v1"),
    ("openai", "http://http://vllm:8000/v1", "http://vllm:8000/v1"),
    ("openai", "http://[::1]:8000", "http://[::1]:8000/v1"),
    ("openai", "http://vllm:8000/v1/chat/completions", "http://vllm:8000/v1"),
    ("openai", "http://vllm:8000/chat/completions", "http://vllm:8000/v1"),
    ("openai", "https://gateway.example/llm", "https://gateway.example/llm/v1"),
    ("openai", "https://r.openai.azure.com", "https://r.openai.azure.com/openai/v1"),
    ("openai", "https://r.openai.azure.com/openai", "https://r.openai.azure.com/openai/v1"),
    ("anthropic", "https://api.anthropic.com/v1/messages", "https://api.anthropic.com/v1"),
    ("anthropic", "https://api.anthropic.com/v1/messages/count_tokens", "https://api.anthropic.com/v1"),
    ("anthropic", "https://api.anthropic.com/v1/v1", "https://api.anthropic.com/v1"),
    ("anthropic", "https://api.anthropic.com/messages", "https://api.anthropic.com"),
    ("anthropic", "https://console.anthropic.com", "https://api.anthropic.com"),
    ("anthropic", "https://api.openai.com/v1", "https://api.anthropic.com"),
    ("anthropic", "http://api.anthropic.com", "https://api.anthropic.com"),
    ("gemini", f"{GEMINI}/v1beta/openai", f"{GEMINI}/v1beta"),
    ("gemini", f"{GEMINI}/v1beta/openai/chat/completions", f"{GEMINI}/v1beta"),
    ("gemini", f"{GEMINI}/v1beta/models", f"{GEMINI}/v1beta"),
    ("gemini", f"{GEMINI}/v1beta/models/gemini-2.5-pro:generateContent", f"{GEMINI}/v1beta"),
    ("gemini", f"{GEMINI}/v1beta/v1beta", f"{GEMINI}/v1beta"),
    ("gemini", "https://aistudio.google.com", GEMINI),
]
RIGHT: list[tuple[DialectName, str]] = [
    ("openai", "https://api.openai.com/v1"),
    ("openai", "https://api.anthropic.com/v1"),
    ("openai", f"{GEMINI}/v1beta/openai"),
    ("openai", "https://api.mistral.ai/v1"),
    ("openai", "https://api.groq.com/openai/v1"),
    ("openai", "https://api.deepseek.com"),
    ("openai", "https://api.deepseek.com/v1"),
    ("openai", "https://api.x.ai/v1"),
    ("openai", "https://openrouter.ai/api/v1"),
    ("openai", "https://api.perplexity.ai"),
    ("openai", "https://models.github.ai/inference"),
    ("openai", "https://open.bigmodel.cn/api/paas/v4"),
    ("openai", "https://gateway.ai.cloudflare.com/v1/account/gateway/compat"),
    ("openai", "https://dbc.cloud.databricks.com/serving-endpoints"),
    ("openai", "https://r.openai.azure.com/openai/v1"),
    ("openai", "https://r.services.ai.azure.com/models"),
    ("openai", "http://127.0.0.1:11434/v1"),
    ("openai", "http://localhost:1234/v1"),
    ("openai", "http://vllm:8000/v1"),
    ("openai", "http://vllm.llm.svc.cluster.local:8000/v1"),
    ("openai", "http://host.docker.internal:11434/v1"),
    ("openai", "http://192.168.1.5:8000/v1"),
    ("openai", "http://[fd00::1]:8000/v1"),
    ("openai", "http://server/{model}"),
    ("openai", "http://openwebui:3000/api"),
    ("openai", "https://api.githubcopilot.com"),
    ("openai", "https://gateway.azure-api.net/team"),
    ("openai", "https://bücher.example/v1"),
    ("openai", "https://yourcompany.example/v1"),
    ("openai", "https://llm_gateway.internal/v1"),
    ("anthropic", "https://api.anthropic.com"),
    ("anthropic", "https://api.anthropic.com/v1"),
    ("anthropic", "https://api.deepseek.com/anthropic"),
    ("anthropic", "http://127.0.0.1:9"),
    ("gemini", GEMINI),
    ("gemini", f"{GEMINI}/v1beta"),
    ("gemini", "http://127.0.0.1:9"),
]


@pytest.mark.parametrize(("dialect", "url", "likely"), WRONG)
def test_an_implausible_address_is_reported_with_the_likely_one(dialect: DialectName, url: str, likely: str) -> None:
    message = implausible(url, dialect)

    assert message is not None
    assert message.endswith(f"; the likely address is `{likely}`")


@pytest.mark.parametrize(("dialect", "likely"), sorted({(dialect, likely) for dialect, _, likely in WRONG}))
def test_the_likely_address_is_plausible(dialect: DialectName, likely: str) -> None:
    assert implausible(likely, dialect) is None


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("https://<resource>.openai.azure.com/openai/v1", "contains a placeholder"),
        ("https://your-resource.openai.azure.com/openai/v1", "contains a placeholder"),
        ("https://YOUR_RESOURCE.openai.azure.com/openai/v1", "contains a placeholder"),
        ("https://gateway.ai.cloudflare.com/v1/<account>/gateway/compat", "contains a placeholder"),
        ("https://gateway.ai.cloudflare.com/v1/your-account/gateway/compat", "contains a placeholder"),
        ("https://api,openai.com/v1", "has `,` in its host"),
        ("https://api..openai.com/v1", "has `..` in its host"),
    ],
)
def test_an_unusable_address_is_reported(url: str, part: str) -> None:
    assert part in (implausible(url, "openai") or "")


@pytest.mark.parametrize(("dialect", "url"), RIGHT)
def test_a_plausible_address_is_not_reported(dialect: DialectName, url: str) -> None:
    assert implausible(url, dialect) is None


@pytest.mark.parametrize(
    ("url", "likely"),
    [
        (VERTEX, None),
        (f"{VERTEX}/models", VERTEX),
        (f"{VERTEX}/models/gemini-2.5-pro", VERTEX),
        (VERTEX.removesuffix("/publishers/google"), VERTEX),
        (VERTEX.replace("/google", "/anthropic"), VERTEX),
    ],
)
def test_an_address_of_vertex_ends_with_its_publisher(url: str, likely: str | None) -> None:
    message = implausible(url, "gemini", vertex=True)

    assert message is None if likely is None else (message or "").endswith(f"`{likely}`")


def test_a_deployment_of_azure_needs_its_version() -> None:
    url = "https://r.openai.azure.com/openai/deployments/{model}"

    assert implausible(url, "openai", api_version="2024-10-21") is None
    assert "needs `api_version`" in (implausible(url, "openai") or "")


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("http://proxy:3128", None),
        ("http://u:p@proxy:80", None),
        ("http://proxy:3128/", None),
        ("http://[::1]:3128", None),
        ("http://proxy:99999", "port that is not a number from 1 to 65535"),
        ("http://proxy:port", "port that is not a number from 1 to 65535"),
        ("http://proxy:0", "port that is not a number from 1 to 65535"),
        ("http://proxy", "has no port, so 80 is used"),
        ("https://proxy", "has no port, so 443 is used"),
        ("http://proxy:3128/path", "path or query"),
    ],
)
def test_the_url_of_a_proxy_has_a_usable_port(url: str, part: str | None) -> None:
    message = implausible_proxy(url)

    assert message is None if part is None else part in (message or "")


@pytest.mark.parametrize(
    ("host", "public"),
    [
        ("example.com", True),
        ("8.8.8.8", True),
        ("localhost", False),
        ("vllm", False),
        ("a.internal", False),
        ("::1", False),
    ],
)
def test_public_hosts_are_recognised_by_name(host: str, public: bool) -> None:
    assert is_public(host) is public


def warnings(folder: Path, text: str, environ: dict[str, str] | None = None) -> list[str]:
    """What a file is warned of, without its path and line."""
    return [each.partition(": ")[2] for each in loaded(folder, text, environ).warnings]


def test_a_warning_names_the_setting_and_keeps_the_file_usable(tmp_path: Path) -> None:
    text = "providers: {p: {base_url: 'http://vllm:8000/v1/chat/completions'}}"

    assert warnings(tmp_path, text) == [
        "providers.p.base_url: ends with `/chat/completions`, which is added by Signalbox; "
        "the likely address is `http://vllm:8000/v1`"
    ]


def test_the_value_of_a_variable_is_not_shown(tmp_path: Path) -> None:
    found = warnings(tmp_path, "providers: {p: {base_url: '${URL}'}}", {"URL": "http://secret-host:8000"})

    assert found == [
        "providers.p.base_url: has no version such as `/v1` in its path; the likely address is `${URL}/v1`"
    ]


@pytest.mark.parametrize("written", ["' http://vllm:8000/v1'", '"http://vllm:8000/v1\\n"', "'http://vllm:8000/v1 '"])
def test_white_space_around_an_address_is_removed(tmp_path: Path, written: str) -> None:
    found = loaded(tmp_path, f"providers: {{p: {{base_url: {written}}}}}")

    assert found.settings.providers["p"].base_url == "http://vllm:8000/v1"
    assert [each.partition(": ")[2] for each in found.warnings] == [
        "providers.p.base_url: has white space around it, which is removed"
    ]


@pytest.mark.parametrize("written", ["'${URL:-}'", "null", ""])
@pytest.mark.parametrize(("dialect", "public"), [("anthropic", "https://api.anthropic.com"), ("gemini", GEMINI)])
def test_an_empty_address_of_a_native_dialect_is_reported(
    tmp_path: Path, written: str, dialect: str, public: str
) -> None:
    found = warnings(tmp_path, f"providers: {{p: {{dialect: {dialect}, keys: [x-key], base_url: {written}}}}}")

    assert found == [
        f"providers.p.base_url: is empty, so calls go to `{public}`; set the address, or remove the setting"
    ]


def test_an_absent_address_of_a_native_dialect_is_fine(tmp_path: Path) -> None:
    assert warnings(tmp_path, "providers: {p: {dialect: anthropic, keys: [x-key]}}") == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_signalbox_as_its_own_provider_is_reported(tmp_path: Path, host: str) -> None:
    found = warnings(tmp_path, f"providers: {{p: {{base_url: 'http://{host}:8080/v1'}}}}")

    assert [each.partition(" (")[0] for each in found] == ["providers.p.base_url: is the address of Signalbox itself"]


def test_a_bad_port_of_a_proxy_is_reported(tmp_path: Path) -> None:
    text = "providers: {p: {base_url: 'http://vllm:8000/v1', proxy: 'http://proxy:99999'}}"

    assert warnings(tmp_path, text) == ["providers.p.proxy: has a port that is not a number from 1 to 65535"]


@pytest.mark.parametrize("keys", ["", ", keys: []"])
def test_a_vendor_without_keys_is_reported(tmp_path: Path, keys: str) -> None:
    text = f"providers: {{p: {{base_url: 'https://api.openai.com/v1'{keys}}}}}"

    assert warnings(tmp_path, text) == ["providers.p: has no `keys`, but openai rejects calls without one; add a key"]
    headers = "{base_url: 'https://api.openai.com/v1', headers: {Authorization: Bearer x}}"
    assert warnings(tmp_path, f"providers: {{p: {headers}}}") == []
