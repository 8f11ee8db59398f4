"""Checks that stored prompts have a store."""

from collections.abc import Iterator

from proxy.config.check.validate import Finding
from proxy.config.settings.schema import Settings


def prompt_problems(settings: Settings) -> Iterator[Finding]:
    """Yield the problem of prompts that are to be kept nowhere."""
    if settings.prompts.store and settings.store == "none":
        yield Finding(("prompts", "store"), "needs a store: set `store` to another value than `none`")
