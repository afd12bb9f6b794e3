"""Filters of the API's lists."""

import django_filters

from analysis.models import Hint, Severity, VerdictName
from deployments.models import Deployment, State


class DeploymentFilter(django_filters.FilterSet):
    """environment: its name; started_after and started_before: ISO 8601."""

    environment = django_filters.CharFilter(field_name="environment__name")
    state = django_filters.ChoiceFilter(choices=State.choices)
    verdict = django_filters.ChoiceFilter(field_name="verdict__verdict", choices=VerdictName.choices)
    started_after = django_filters.IsoDateTimeFilter(field_name="started_at", lookup_expr="gte")
    started_before = django_filters.IsoDateTimeFilter(field_name="started_at", lookup_expr="lt")

    class Meta:
        model = Deployment
        fields: list[str] = []


class HintFilter(django_filters.FilterSet):
    """deployment: its id."""

    severity = django_filters.ChoiceFilter(choices=Severity.choices)
    deployment = django_filters.UUIDFilter(field_name="deployment__uuid")
    code = django_filters.CharFilter()

    class Meta:
        model = Hint
        fields: list[str] = []
