"""Work on many items at once, so that one which cannot be worked on does not stop the others."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from common.database_state import state_of

Item = TypeVar("Item")
Result = TypeVar("Result")


def of_the_database(error: Exception) -> bool:
    """Return whether the database is at fault, so that the whole is to be repeated later."""
    return state_of(error) is not None


def together_or_each(
    work: Callable[[Sequence[Item]], Result],
    items: Sequence[Item],
    failed: Callable[[Item, Exception], None],
    *,
    stops: Callable[[Exception], bool] = of_the_database,
) -> list[Result]:
    """Call `work` with all items or, if it raises, with each separately; return what it returned.

    Args:
        work: what it writes before it raises has to be undone: inside a transaction, `transaction.atomic(work)`.
        failed: called in the handler of the exception, with an item whose own call raised.
        stops: of an error: whether it is raised instead.

    Raises: errors that stop.
    """
    try:
        return [work(items)]
    except Exception as error:
        if stops(error):
            raise
        if len(items) == 1:
            failed(items[0], error)
            return []
    return [found for item in items for found in together_or_each(work, [item], failed, stops=stops)]
