"""Options that several commands have, and how they become the fields of an object."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

config_option = click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="SIGNALBOX_CONFIG",
    help="The configuration file, which names the store. Default: config/signalbox.yaml.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
LIMITS = ("rpm", "rpd", "tpm", "tpd", "concurrency")
_BUDGET = re.compile(r"\$?(\d{1,10}(?:\.\d{1,9})?)\s*(?:usd)?(?:/(day|week|month|total))?(:soft)?", re.I | re.ASCII)
_NUMBER = re.compile(r"\d{1,12}", re.ASCII)
_HELP = {
    "rpm": "Requests per minute.",
    "rpd": "Requests per 24 hours.",
    "tpm": "Tokens per minute.",
    "tpd": "Tokens per 24 hours.",
    "concurrency": "Concurrent calls.",
}


class ModelLimitType(click.ParamType[tuple[str, dict[str, int]]]):
    """A pattern of models with its limits: `openai/gpt-4o=rpm:5,tpd:100000`."""

    name = "PATTERN=LIMIT:NUMBER"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, dict[str, int]]:
        """Return the pattern, and the fields of its limits."""
        pattern, _, text = value.rpartition("=")
        limits = [part.partition(":") for part in text.split(",")]
        if not pattern or not all(
            name in LIMITS and number.isascii() and number.isdigit() for name, _, number in limits
        ):
            self.fail(f"{value!r} is no limit of a model such as openai/gpt-4o=rpm:5,tpd:100000", param, ctx)
        return pattern, {name: int(number) for name, _, number in limits}


class BudgetType(click.ParamType[dict[str, Any]]):
    """An amount and a period: `5usd/month`."""

    name = "AMOUNT/PERIOD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        """Return the fields of the budget."""
        match = _BUDGET.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is None:
            self.fail(f"{value!r} is no budget such as 5usd/month, 1/day or 20/total:soft", param, ctx)
        amount, period, soft = match.groups()
        return {"usd": float(amount), "period": (period or "month").lower(), "hard": not soft}


def grants(command: F) -> F:
    """Add the options of what a key, a user or a team may use."""
    for name in reversed(LIMITS):
        command = click.option(f"--{name}", type=click.IntRange(1), help=_HELP[name])(command)
    command = click.option(
        "--model-limit",
        "model_limits",
        type=ModelLimitType(),
        multiple=True,
        help="Limits of the models that match a pattern, such as openai/gpt-4o=rpm:5,tpd:100000; repeatable.",
    )(command)
    command = click.option(
        "--budget", type=BudgetType(), help="The budget, such as 5usd/month; with `:soft` calls beyond it only warn."
    )(command)
    return click.option(
        "--model", "models", multiple=True, metavar="PATTERN", help="A model or pattern that may be used; repeatable."
    )(command)


def clearable(*fields: str) -> Callable[[F], F]:
    """Add the option that clears fields."""
    return click.option(
        "--clear", multiple=True, type=click.Choice(fields), help="Remove the value of a field; repeatable."
    )


def fields_of(options: Mapping[str, Any], clear: Sequence[str] = ()) -> dict[str, Any]:
    """Return the fields that options name, as the admin API has them."""
    set_options = {name: value for name, value in options.items() if value not in (None, ())}
    limits = {name: set_options.pop(name) for name in LIMITS if name in set_options}
    fields = {name: list(value) if isinstance(value, tuple) else value for name, value in set_options.items()}
    if limits:
        fields["limits"] = limits
    if "model_limits" in fields:
        fields["model_limits"] = dict(fields["model_limits"])
    return {**fields, **dict.fromkeys(clear)}


def pairs(values: Sequence[str]) -> dict[str, str] | None:
    """Return `NAME=VALUE` texts as a mapping; `None` without any."""
    read = {}
    for value in values:
        name, equals, content = value.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE", param_hint="--metadata")
        read[name] = content
    return read or None
