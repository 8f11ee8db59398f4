"""The exposition of `/metrics`, written by `prometheus_client` from families.

Import this module at the first scrape: `prometheus_client` takes time and memory that a service without scrapes saves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from proxy.observe.exposition import Family

_LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)")


class Families(Collector):
    """A custom collector: the families of one moment."""

    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Yield one metric for each family."""
        return map(_metric, self._families)


def exposition(families: Sequence[Family], accept: str = "") -> tuple[bytes, str]:
    """Return the text and its content type, in the format that the header `accept` prefers."""
    encode, content_type = choose_encoder(accept)
    return encode(Families(families)), content_type


def _metric(family: Family) -> Metric:
    # `prometheus_client` names a counter without `_total`, and writes the suffix
    name = family.name.removesuffix("_total") if family.kind == "counter" else family.name
    metric = Metric(name, family.text, family.kind)
    metric.samples = list(_samples(family))
    return metric


def _samples(family: Family) -> Iterator[Sample]:
    """Yield the samples; the text of a series is taken apart into its name and labels."""
    for series, value in family.values.items():
        name, _, labels = series.partition("{")
        yield Sample(name, {label: _unquoted(text) for label, text in _LABEL.findall(labels)}, value)


def _unquoted(text: str) -> str:
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda match: "\n" if match[1] == "n" else match[1], text)
