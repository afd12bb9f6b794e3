"""Errors as facts in Django's forms and models."""

from django.core.exceptions import ValidationError
from django.utils.functional import lazy
from django.utils.translation import get_language

from explain.errors import ExplainedError
from explain.facts import Fact
from explain.rendering import render


def localized(fact: Fact) -> str:
    """Render the fact in the active language."""
    return render(fact, get_language() or "en")


localized_lazy = lazy(localized, str)


def validation_error(error: ExplainedError) -> ValidationError:
    """Return the error as Django's, whose message is rendered in the language that is active where it is shown."""
    return ValidationError(localized_lazy(error.fact), code=error.code)
