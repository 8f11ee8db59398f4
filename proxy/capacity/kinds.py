"""The kinds of limits: requests and tokens per minute and per 24 hours, and concurrent requests."""

from __future__ import annotations

from typing import Literal

LimitKind = Literal["rpm", "rpd", "tpm", "tpd", "concurrency"]

MINUTE, DAY = 60.0, 86_400.0
WINDOWS: dict[LimitKind, float] = {"rpm": MINUTE, "rpd": DAY, "tpm": MINUTE, "tpd": DAY, "concurrency": 0.0}
TOKENS: tuple[LimitKind, ...] = ("tpm", "tpd")
COOLDOWN = "cooldown"  # the kind of the counter that carries a cooldown
