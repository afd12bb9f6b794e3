import pytest
from django.db import OperationalError

from common.batches import together_or_each


def test_one_that_raises_stops_no_other() -> None:
    calls: list[list[int]] = []
    failed: list[tuple[int, str]] = []

    def work(items: list[int]) -> list[int]:
        calls.append(list(items))
        if 3 in items:
            raise ValueError("three")
        return items

    def note(item: int, error: Exception) -> None:
        failed.append((item, str(error)))

    assert together_or_each(work, [1, 2], note) == [[1, 2]]
    assert together_or_each(work, [1, 3, 4], note) == [[1], [4]]
    assert together_or_each(work, [3], note) == [] and together_or_each(work, [], note) == [[]]
    assert failed == [(3, "three"), (3, "three")]
    assert calls == [[1, 2], [1, 3, 4], [1], [3], [4], [3], []]


def test_an_error_of_the_database_stops_all() -> None:
    def work(items: list[int]) -> None:
        raise OperationalError("the connection is lost")

    with pytest.raises(OperationalError):
        together_or_each(work, [1, 2], lambda item, error: pytest.fail("the item is not at fault"))
