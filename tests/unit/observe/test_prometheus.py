"""The exposition that `prometheus_client` writes from families."""

from __future__ import annotations

import subprocess
import sys

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from proxy.observe.exposition import Family, Kind, series
from proxy.observe.instruments import Histogram
from proxy.observe.prometheus import exposition

PLAIN = "text/plain; version=0.0.4; charset=utf-8"
VALUE = 'x"y\\z\nn\\n'


def family(values: dict[str, float], kind: Kind = "counter") -> Family:
    return Family("f_total" if kind == "counter" else "f", kind, "A text.", values)


def test_labels_are_sorted_and_escaped() -> None:
    text = exposition([family({series("f_total", [("b", VALUE), ("a", "1")]): 2})])[0].decode()

    [read] = text_string_to_metric_families(text)

    assert text.startswith("# HELP f_total A text.\n# TYPE f_total counter\nf_total{a=")
    assert read.samples[0].labels == {"a": "1", "b": VALUE}


def test_label_values_may_look_like_labels() -> None:
    value = 'a="b",c="d"}{'
    text = exposition([family({series("f", [("x", value), ("y", "")]): 1}, "gauge")])[0].decode()

    [read] = text_string_to_metric_families(text)

    assert read.samples[0].labels == {"x": value, "y": ""}


def test_series_without_labels_are_written() -> None:
    assert exposition([family({"f": 1}, "gauge")])[0] == b"# HELP f A text.\n# TYPE f gauge\nf 1.0\n"


def test_a_help_text_stays_on_its_line() -> None:
    assert exposition([Family("f", "gauge", "a\nb\\", {})])[0] == b"# HELP f a\\nb\\\\\n# TYPE f gauge\n"


def test_a_histogram_has_cumulative_buckets() -> None:
    histogram = Histogram("h", "A text.", (0.5, 1))
    for seconds in (0.1, 0.7, 9.0):
        histogram.observe(seconds)

    [read] = text_string_to_metric_families(exposition([histogram.family()])[0].decode())

    buckets = {sample.labels["le"]: sample.value for sample in read.samples if sample.name == "h_bucket"}
    assert (read.type, buckets) == ("histogram", {"0.5": 1, "1.0": 2, "+Inf": 3})


@pytest.mark.parametrize("accept", ["", "*/*", "text/html,*/*;q=0.8", "text/plain;version=0.0.4"])
def test_prometheus_text_is_the_default_format(accept: str) -> None:
    assert exposition([], accept) == (b"", PLAIN)


def test_openmetrics_is_written_if_it_is_accepted() -> None:
    families = [family({series("f_total", [("a", "1")]): 2}), Histogram("h", "A text.", (0.5, 1)).family()]

    text, content_type = exposition(families, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")

    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert [read.name for read in openmetrics(text.decode())] == ["f", "h"]


def test_the_library_is_not_imported_before_a_scrape() -> None:
    script = "import sys, proxy.server, proxy.app; print('prometheus_client' in sys.modules)"

    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert run.stdout == "False\n"
