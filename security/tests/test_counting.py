import sys

import pytest

from security.counting import LocalCounters


def test_a_process_counts_each_caller_by_period(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr("security.counting.time.time", lambda: clock[0])
    counters = LocalCounters()
    assert [counters.incr("a", 60), counters.incr("a", 60), counters.incr("b", 60)] == [(1, 1060), (2, 1060), (1, 1060)]
    clock[0] += 60
    assert counters.incr("a", 60) == (1, 1120)


def test_inventing_callers_neither_grows_the_memory_nor_empties_the_counters(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr("security.counting.time.time", lambda: clock[0])
    counters = LocalCounters(most=3)
    for name in "abc":
        counters.incr(name, 60)
    assert counters.incr("d", 60)[0] > 10**9
    assert (counters.incr("a", 60)[0], len(counters.counts)) == (2, 3)
    clock[0] += 60
    assert (counters.incr("d", 60)[0], len(counters.counts)) == (1, 1)


def test_callers_beyond_the_most_do_not_each_go_through_all_counters(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr("security.counting.time.time", lambda: clock[0])
    counters = LocalCounters(most=2)
    for name in "abc":
        counters.incr(name, 60)
    kept = counters.counts
    clock[0] += 0.9
    assert counters.incr("d", 60)[0] > 10**9
    assert counters.counts is kept
    clock[0] += 60
    assert [counters.incr(name, 60)[0] for name in "dea"] == [1, 1, sys.maxsize]
