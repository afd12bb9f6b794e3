"""Base classes of the admin classes of all apps. Independent of models."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import structlog
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import SuspiciousOperation
from django.core.paginator import Paginator
from django.db import DataError, models
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _

logger = structlog.get_logger(__name__)

# A longer search finds nothing more, and each of its words is another condition.
LONGEST_PARAMETER = 500
# Digits of the greatest BIGINT.
LONGEST_ID = 19
NAMES_SHOWN = 50
# Rows that are counted and paged through; further ones are found by search and filters.
MOST_COUNTED = 10_000
MOST_OFFERED = 200


class BoundedPaginator(Paginator):  # type: ignore[type-arg]  # not generic at run time
    """Pages of the first rows, so that counting a table of millions takes no longer than one of thousands."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[:MOST_COUNTED].count())


class FirstRelated(admin.RelatedFieldListFilter):
    """Offer the first related rows by name; others can be named in the URL."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        first = field.related_model.objects.order_by("name").values_list("pk", "name")[:MOST_OFFERED]
        return [(str(pk), name) for pk, name in first]


class GuardedAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    """A ModelAdmin whose list ignores hostile query strings and selections instead of answering 500.

    PostgreSQL refuses NUL in text, and dates and ids out of range only show when the query runs.
    """

    show_full_result_count = False
    list_per_page = 50
    paginator = BoundedPaginator

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if any(_hostile(value) for values in request.GET.lists() for value in (values[0], *values[1])):
            return HttpResponseRedirect(f"{request.path}?e=1")
        return super().changelist_view(request, extra_context)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        try:
            return super().get_changelist_instance(request)
        except (DataError, OverflowError, ValueError) as error:
            logger.warning("bad_admin_query", path=request.path, error=str(error))
            raise IncorrectLookupParameters(error) from None

    def to_field_allowed(self, request: HttpRequest, to_field: str) -> bool:
        """Return whether a pop-up may refer to rows by this field: Django's breaks on hidden relations, such as "+"."""
        is_column = any(field.name == to_field for field in self.opts.concrete_fields)
        return is_column and super().to_field_allowed(request, to_field)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Load the row; an empty name of a field, which Django takes for one, means the primary key."""
        return super().get_object(request, object_id, from_field or None)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save only columns changed on the page: others may have changed since, such as a secret or the number of the
        latest deployment."""
        if change:
            save_columns(obj, form.changed_data)
        else:
            super().save_model(request, obj, form, change)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Save inline rows in the same way."""
        formset.save(commit=False)
        for row in formset.deleted_objects:
            row.delete()
        for row, names in formset.changed_objects:
            save_columns(row, names)
        for row in formset.new_objects:
            row.save()
        formset.save_m2m()

    def report_changed(self, request: HttpRequest, rows: Sequence[Model], note: str, text: Any) -> None:
        """Log the change of each row with the note, and show how many there were. text: of ngettext_lazy, by "n"."""
        for row in rows:
            self.log_change(request, row, note)
        self.message_user(request, text % {"n": len(rows)}, messages.SUCCESS)

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any], *args: Any) -> HttpResponse | None:
        chosen = request.POST.getlist(ACTION_CHECKBOX_NAME)
        if any(not (value.isascii() and value.isdigit() and len(value) <= LONGEST_ID) for value in chosen):
            raise SuspiciousOperation("A selected id is not one.")
        return super().response_action(request, queryset, *args)


def _hostile(value: str) -> bool:
    return "\x00" in value or len(value) > LONGEST_PARAMETER


def save_columns(row: Model, names: Iterable[str]) -> None:
    """Save those of these fields that are columns of the row. An id counts as changed when it comes in other digits."""
    columns = {field.name for field in row._meta.concrete_fields if not field.primary_key}
    row.save(update_fields=[name for name in names if name in columns])


class MachineMadeAdmin(GuardedAdmin):
    """Read-only admin for rows that SeqPulse writes. They are deleted only with their owner."""

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class OwnerAdmin(GuardedAdmin):
    """Admin for rows that own machine-made ones, which are deleted with them.

    Django's page would require permission to delete each of those, and list every sample of a project.
    """

    def get_deleted_objects(
        self, objs: Iterable[Any], request: HttpRequest
    ) -> tuple[list[Any], Any, set[str], list[str]]:
        rows = list(objs)
        counts = Counter({str(self.model._meta.verbose_name_plural): len(rows)})
        for model, number in owned_counts(self.model, [row.pk for row in rows]).items():
            counts[str(model._meta.verbose_name_plural)] += number
        return [str(row) for row in rows[:NAMES_SHOWN]], counts.items(), set(), []


def owned_counts(model: type[Model], ids: list[int]) -> dict[type[Model], int]:
    """Count the rows deleted with these by model, along cascading foreign keys; each model by its shortest path."""
    found: dict[type[Model], int] = {}
    seen: set[type[Model]] = {model}
    waiting: list[tuple[type[Model], QuerySet[Any]]] = [(model, model._base_manager.filter(pk__in=ids))]
    while waiting:
        owner, rows = waiting.pop(0)
        for relation in owner._meta.related_objects:
            owned = relation.related_model
            if relation.on_delete is not models.CASCADE or owned in seen or not isinstance(owned, type):
                continue
            seen.add(owned)
            theirs = owned._base_manager.filter(**{f"{relation.field.name}__in": rows.values("pk")})
            number = theirs.count()
            if number:
                found[owned] = number
                waiting.append((owned, theirs))
    return found


def shown_once(
    request: HttpRequest, model_admin: GuardedAdmin, title: str, secrets: list[tuple[str, str]]
) -> TemplateResponse:
    """Return the page with new secrets: (owner, secret).

    They are in this response only: Django's messages would store them in a cookie or the session.
    """
    context = {
        **model_admin.admin_site.each_context(request),
        "opts": model_admin.opts,
        "title": title,
        "secrets": secrets,
        "explanation": _("Store it now where it is needed: it cannot be shown again."),
    }
    response = TemplateResponse(request, "admin/shown_once.html", context)
    response["Cache-Control"] = "no-store, private"
    return response
