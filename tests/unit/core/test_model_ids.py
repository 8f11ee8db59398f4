"""Ids without their date."""

import pytest

from proxy.core.model_ids import undated


@pytest.mark.parametrize(
    ("model", "left"),
    [
        ("gpt-5-2025-08-07", "gpt-5"),
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("gpt-4-0613", "gpt-4-0613"),
        ("mistral-large-2512", "mistral-large-2512"),
        ("claude-haiku-4-5@20251001", "claude-haiku-4-5@20251001"),
        ("gpt-5-2025-08-07-x", "gpt-5-2025-08-07-x"),
        ("20251001", "20251001"),
        ("", ""),
    ],
)
def test_only_a_date_at_the_end_is_cut(model: str, left: str) -> None:
    assert undated(model) == left
