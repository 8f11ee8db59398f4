"""Settings that several worker processes cannot keep without a shared state: exact counts over all of them."""

from collections.abc import Iterator

from proxy.config.check.validate import Finding
from proxy.config.settings.keys import LimitSettings
from proxy.config.settings.schema import Settings
from proxy.config.yaml.read import Path

_MESSAGE = "with {workers} workers a {what} needs a shared `state`; {remedy}"
_REMEDY = "set `state: redis://...`, remove it, or use one worker (`server.workers`, `--workers`)"


def unshared(settings: Settings, workers: int) -> Iterator[Finding]:
    """Yield what would be counted in each worker by itself; nothing with one worker."""
    if workers == 1 or settings.state != "memory":
        return
    places: list[Path] = [("models", i, "limits") for i, model in enumerate(settings.models) if _limits(model.limits)]
    for name, provider in settings.providers.items():
        keys = enumerate(provider.keys)
        places += [("providers", name, "keys", i, "limits") for i, key in keys if _limits(key.limits)]
    if _limits(settings.defaults.key_limits):
        places.append(("defaults", "key_limits"))
    for place in places:
        yield Finding(place, _MESSAGE.format(workers=workers, what="limit", remedy=_REMEDY))
    places = [("budgets", index) for index in range(len(settings.budgets))]
    if settings.defaults.user_budget is not None and settings.auth.mode != "none":  # only then there are users
        places.append(("defaults", "user_budget"))
    for place in places:
        yield Finding(place, _MESSAGE.format(workers=workers, what="budget", remedy=_REMEDY))


def _limits(limits: LimitSettings) -> bool:
    return bool(limits.model_dump(exclude_none=True))
