"""Settings that are sound each by itself, and of which one can never have an effect because of another.

They are warnings, since nothing is wrong with what happens: the shorter time holds. Only what the file itself says is
doubted, never a default, nor a general time that a more particular one is shorter than.
"""

from collections.abc import Iterator

from proxy.config.read import Path
from proxy.config.schema import Settings
from proxy.config.validate import Finding


def doubts(settings: Settings) -> Iterator[Finding]:
    """What is never reached, with the path of the value."""
    deadline = settings.resilience.deadline
    if "soft" in deadline.model_fields_set and deadline.soft > deadline.hard:
        message = "is longer than `hard`, so it is never reached; shorten it or raise `hard`"
        yield Finding(("resilience", "deadline", "soft"), message)
    for name, provider in settings.providers.items():
        written = "first_token" in provider.timeouts.model_fields_set
        if written and provider.timeouts.first_token > provider.timeouts.total:
            yield _first_token(("providers", name, "timeouts", "first_token"))
    for index, model in enumerate(settings.models):
        of_provider = settings.providers[model.id.partition("/")[0]].timeouts
        total = of_provider.total if model.timeouts.total is None else model.timeouts.total
        if model.timeouts.first_token is not None and model.timeouts.first_token > total:
            yield _first_token(("models", index, "timeouts", "first_token"))


def _first_token(path: Path) -> Finding:
    return Finding(path, "is longer than `total`, which holds for all of an attempt; shorten it or raise `total`")
