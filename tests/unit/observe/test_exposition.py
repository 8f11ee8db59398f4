"""The sum of families over several processes."""

from __future__ import annotations

from proxy.observe.exposition import Combine, Family, Kind, exported, merged, retired


def family(values: dict[str, float], kind: Kind = "counter", combine: Combine = "sum") -> Family:
    return Family("f", kind, "A text.", values, combine)


def combined(*each: Family) -> dict[str, float]:
    own, *others = each
    [whole] = merged([own], [exported([other]) for other in others])
    return whole.values


def test_counters_of_processes_are_added() -> None:
    assert combined(family({"f": 1, "g": 1}), family({"f": 2, "h": 3}), family({"f": 4})) == {"f": 7, "g": 1, "h": 3}


def test_gauges_of_processes_combine_as_they_say() -> None:
    def gauges(combine: Combine) -> dict[str, float]:
        return combined(family({"f": 3}, "gauge", combine), family({"f": 1}, "gauge", combine))

    assert [gauges("sum"), gauges("max"), gauges("min")] == [{"f": 4}, {"f": 3}, {"f": 1}]


def test_families_that_only_another_process_has_are_added() -> None:
    other = Family("other", "gauge", "B.", {"other": 0.0}, "max")

    assert merged([family({"f": 1})], [exported([other])]) == [family({"f": 1}), other]


def test_counters_at_0_are_not_exported_but_gauges_are() -> None:
    assert merged([], [exported([family({"f": 0}), Family("g", "gauge", "", {"g": 0})])])[0].values == {}
    assert merged([], [exported([Family("g", "gauge", "", {"g": 0})])])[0].values == {"g": 0}


def test_what_an_ended_process_counted_stays_and_its_gauges_go() -> None:
    first = exported([family({"f": 1}), Family("g", "gauge", "", {"g": 5})])
    second = exported([family({"f": 2}), Family("h", "histogram", "", {"h_sum": 0.5})])

    left = {each.name: each.values for each in merged([], [retired([first, second])])}

    assert left == {"f": {"f": 3}, "h": {"h_sum": 0.5}}
