"""Compiles what a process needs when it starts."""

from proxy.config.settings.schema import Settings
from proxy.config.settings.server import ServerSettings
from proxy.core.process import CorsPolicy, ProcessPolicy, ServerPolicy


def compile_process(settings: Settings) -> ProcessPolicy:
    """Compile valid settings."""
    auth, fail = settings.auth, settings.dependencies
    keys = [] if auth.encryption_key is None else [auth.encryption_key, *auth.previous_encryption_keys]
    return ProcessPolicy(
        server=_server(settings.server),
        data_dir=settings.data_dir,
        store=settings.store,
        state=settings.state,
        store_required=fail.store.fail == "closed",
        state_required=fail.state.fail == "closed",
        encryption_keys=tuple(key.get_secret_value() for key in keys),
        secrets=tuple(auth.secrets()),
    )


def _server(settings: ServerSettings) -> ServerPolicy:
    plain = settings.model_dump(exclude={"cors", "max_in_flight", "workers"})
    return ServerPolicy(**plain, cors=CorsPolicy(**settings.cors.model_dump()))
