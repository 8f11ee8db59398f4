"""The effective configuration as JSON values, for `/admin/config`. Secrets are `***` if set, else null."""

from decimal import Decimal
from typing import Any

from pydantic import BaseModel, SecretStr

from proxy.config.settings.schema import Settings
from proxy.config.yaml.expand import Unset
from proxy.core.location import without_secrets

MASK = "***"


def redacted(settings: Settings) -> dict[str, Any]:
    """Every setting with its value: durations in seconds, sizes in bytes, prices in USD per million tokens."""
    shown = {name: _shown(getattr(settings, name)) for name in type(settings).model_fields}
    return shown | {name: without_secrets(shown[name]) for name in ("store", "state")}


def _shown(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return MASK if value.get_secret_value() else None
    if isinstance(value, Unset):
        return None
    if isinstance(value, BaseModel):
        return {name: _shown(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, dict):
        return {str(name): _shown(inner) for name, inner in value.items()}
    if isinstance(value, tuple | list):
        return [_shown(inner) for inner in value]
    return float(value) if isinstance(value, Decimal) else value
