"""Counters, gauges and histograms of one process."""

from __future__ import annotations

from proxy.observe.instruments import Counter, Gauge, Histogram


def test_a_counter_has_one_value_for_each_combination_of_labels() -> None:
    counter = Counter("c_total", "", ("b", "a"))
    counter.labels("1", "2").inc()
    counter.labels("1", "2").inc(0.5)
    counter.labels("1", "3").inc()

    assert counter.family().values == {'c_total{a="2",b="1"}': 1.5, 'c_total{a="3",b="1"}': 1.0}


def test_a_series_at_zero_is_shown_until_it_counts() -> None:
    counter = Counter("c_total", "", ("a",))
    counter.at_zero([("x",), ("y",)])
    counter.labels("y").inc()

    assert counter.family().values == {'c_total{a="x"}': 0.0, 'c_total{a="y"}': 1.0}


def test_series_at_zero_are_replaced_and_counted_ones_stay() -> None:
    counter = Counter("c_total", "", ("a",))
    counter.at_zero([("x",), ("y",)])
    counter.labels("y").inc()
    counter.at_zero([("z",)])

    assert counter.family().values == {'c_total{a="z"}': 0.0, 'c_total{a="y"}': 1.0}


def test_a_gauge_has_the_last_value() -> None:
    gauge = Gauge("g", "", "min")
    gauge.set(3)
    gauge.set(2)

    assert (gauge.family().values, gauge.family().combine) == ({"g": 2}, "min")


def test_a_bucket_includes_its_bound_and_the_buckets_below() -> None:
    histogram = Histogram("h", "", (1, 2.5))
    for value in (0.5, 1.0, 2.0, 9.0):
        histogram.observe(value)

    assert histogram.family().values == {
        'h_bucket{le="1.0"}': 2,
        'h_bucket{le="2.5"}': 3,
        'h_bucket{le="+Inf"}': 4,
        "h_count": 4,
        "h_sum": 12.5,
    }
