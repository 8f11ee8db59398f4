"""`signalbox provider-keys`: users' own provider keys in the store."""

from __future__ import annotations

from pathlib import Path

import click

from proxy.commands.options import config_option, json_option
from proxy.commands.shell import Shell, run
from proxy.commands.tables import echo_json, table
from proxy.core.timestamps import iso
from proxy.store.envelope import Envelope
from proxy.store.provider_keys import MAX_LIST, ProviderKeys, Rotation, StoredKey

_COLUMNS = ("id", "user", "provider", "fingerprint", "version", "updated_at")


@click.command("list")
@click.option("--user", help="Only the keys of this user.")
@click.option("--limit", type=click.IntRange(1, MAX_LIST), default=100, show_default=True, help="At most so many.")
@click.option("--after", help="Only those after this id.")
@json_option
@config_option
def list_keys(user: str | None, limit: int, after: str | None, as_json: bool, config: Path | None) -> None:
    """List keys by their fingerprints."""
    stored = run(config, lambda shell: _keys(shell).list(user, after, limit))
    rows = [_shown(key) for key in stored]
    echo_json(rows) if as_json else click.echo(table(_COLUMNS, rows))


@click.command()
@config_option
def rotate(config: Path | None) -> None:
    """Encrypt all keys with `auth.encryption_key`.

    Keys that `auth.previous_encryption_keys` have encrypted no longer need these afterwards. Servers may run meanwhile.
    """
    rotation = run(config, lambda shell: _keys(shell).rotate())
    click.echo(f"{rotation.rotated} provider keys are encrypted with the current key now.")
    if problems := _problems(rotation):
        raise click.ClickException("\n".join(problems))


def _problems(rotation: Rotation) -> list[str]:
    problems = [
        f"{number} provider keys need the encryption key `{kek_id}`, which is not configured; add it to "
        "`auth.previous_encryption_keys` and repeat this command."
        for kek_id, number in rotation.unknown.items()
    ]
    if rotation.damaged:
        named = ", ".join(rotation.damaged[:10])
        problems.append(f"{len(rotation.damaged)} provider keys are damaged and must be stored again: {named}")
    return problems


def _keys(shell: Shell) -> ProviderKeys:
    auth = shell.settings.auth
    if auth.encryption_key is None:
        raise click.UsageError("`auth.encryption_key` is not configured (SIGNALBOX_ENCRYPTION_KEY); set it")
    keys = [key.get_secret_value() for key in (auth.encryption_key, *auth.previous_encryption_keys)]
    return ProviderKeys(shell.database, Envelope(keys), shell.clock)


def _shown(key: StoredKey) -> dict[str, object]:
    return {**key._asdict(), "created_at": iso(key.created_at), "updated_at": iso(key.updated_at)}


COMMANDS = [list_keys, rotate]
