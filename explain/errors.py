"""Errors that are stored or shown."""

from explain.facts import Fact, Param
from explain.rendering import render


class ExplainedError(Exception):
    """An error as a fact, rendered where it is shown.

    code, params: see Fact; field: the name of the field that is wrong, with dots, "" where there is none. str() is the
    English text.
    """

    def __init__(self, code: str, /, *, field: str = "", **params: Param) -> None:
        super().__init__(code)
        self.fact = Fact(code, params)
        self.field = field

    @property
    def code(self) -> str:
        return self.fact.code

    def __str__(self) -> str:
        return render(self.fact)
