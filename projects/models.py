"""Projects, their environments and policies, and the API keys that CI uses."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Lower, Now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from accounts.models import Team, User, validate_time_zone
from accounts.permissions import Actions, actions_in
from common.validation import validation_error
from outbound.fetcher import EndpointError, parse_endpoint
from projects import units
from projects.plans import FIRST_PLAN, ONLY_PLAN, PLANS, Plan
from projects.policies import validate_policy
from projects.units import METRICS_WITH_UNITS, Units
from security.encryption import EncryptedTextField

API_KEY_PREFIX = "sp_"
HMAC_SECRET_PREFIX = "sphs_"  # noqa: S105  (how secrets begin, not one)
MAX_SETTLE_S = 3600
MOST_ORIGINS = 20

PLAN_NAMES = {"free": _("Free"), "pro": _("Pro"), "enterprise": _("Enterprise")}
PLAN_CHOICES = [(name, PLAN_NAMES[name]) for name in PLANS]


def plan_of_new_projects() -> str:
    """Return the plan of a project for which none is named."""
    return FIRST_PLAN if settings.SEQPULSE_PLANS else ONLY_PLAN


class ProjectQuerySet(models.QuerySet["Project"]):
    def not_deleted(self) -> ProjectQuerySet:
        """Leave out deleted projects, whose rows are still being removed."""
        return self.filter(deleting_at__isnull=True)

    def active(self) -> ProjectQuerySet:
        """Return projects that are measured: neither archived nor deleted."""
        return self.not_deleted().filter(archived_at__isnull=True)

    def visible_to(self, user: Any) -> ProjectQuerySet:
        """Return the projects of the user's teams; all projects for a superuser."""
        if user.is_superuser:
            return self.not_deleted()
        return self.not_deleted().filter(team__members=user)


class Project(models.Model):
    """One service under verification, in one or more environments."""

    uuid = models.UUIDField(_("UUID"), default=uuid.uuid4, unique=True, editable=False)
    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="projects", verbose_name=_("team"))
    name = models.CharField(_("name"), max_length=100)
    plan = models.CharField(_("plan"), max_length=12, choices=PLAN_CHOICES, default=plan_of_new_projects)
    window_minutes = models.PositiveSmallIntegerField(
        _("window (min)"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Minutes of observation after a deployment; empty: what the plan gives. Never more than that.",
    )
    retention_days = models.PositiveSmallIntegerField(
        _("retention (days)"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Days that samples are kept; empty: what the plan gives. Never more than that.",
    )
    adopt_endpoints = models.BooleanField(
        _("adopt endpoints"),
        default=True,
        help_text="An environment without a metrics endpoint takes the first one that a call with a valid key brings.",
    )
    last_number = models.PositiveIntegerField(
        _("last number"), default=0, editable=False, help_text="Number of the latest deployment."
    )
    created_at = models.DateTimeField(_("created at"), db_default=Now(), editable=False)
    archived_at = models.DateTimeField(
        _("archived at"),
        null=True,
        blank=True,
        help_text="Since when nothing is measured any more; what was stays readable.",
    )
    deleting_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Since when it is gone for people, while its rows are removed."
    )

    objects = ProjectQuerySet.as_manager()

    class Meta:
        verbose_name = _("project")
        verbose_name_plural = _("projects")
        constraints = [
            models.UniqueConstraint(Lower("name"), "team", name="one_project_name_per_team"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_archived(self) -> bool:
        return self.archived_at is not None

    @property
    def plan_limits(self) -> Plan:
        return PLANS[self.plan]

    @property
    def effective_window_minutes(self) -> int:
        """Minutes of observation: the project's setting, at most the plan's."""
        return min(self.window_minutes or self.plan_limits.window_minutes, self.plan_limits.window_minutes)

    @property
    def effective_retention_days(self) -> int:
        """Days that samples are kept: the project's setting, at most the plan's."""
        return min(self.retention_days or self.plan_limits.retention_days, self.plan_limits.retention_days)

    @property
    def baseline_interval_s(self) -> int:
        """Seconds between two baseline samples of its environments, unless they have more: the installation's, else
        the plan's."""
        return settings.SEQPULSE_BASELINE_INTERVAL_SECONDS or self.plan_limits.baseline_interval_s

    def actions_of(self, user: User) -> Actions:
        """Return what the user's role in the project's team allows. One query, none for a superuser."""
        return actions_in(user, Team(pk=self.team_id))

    def clean(self) -> None:
        limits = PLANS.get(self.plan)
        if limits is None:
            return
        for name, most in (("window_minutes", limits.window_minutes), ("retention_days", limits.retention_days)):
            value = getattr(self, name)
            if value is not None and value > most:
                raise ValidationError({name: ValidationError(_("At most %(n)d is possible."), params={"n": most})})


def validate_endpoint(url: str) -> None:
    """Raise ValidationError where the URL cannot be a metrics endpoint."""
    try:
        parse_endpoint(url)
    except EndpointError as error:
        raise validation_error(error) from None


def validate_origins(origins: Any) -> None:
    """Raise ValidationError where these are not origins as URLs."""
    if not isinstance(origins, list) or len(origins) > MOST_ORIGINS:
        raise ValidationError(_("At most %(n)d is possible."), params={"n": MOST_ORIGINS})
    for origin in origins:
        try:
            parsed = parse_endpoint(str(origin))
        except EndpointError as error:
            raise validation_error(error) from None
        if parsed.path != "/" or parsed.query:
            raise ValidationError(
                _("%(origin)s has a path: scheme, host and port are enough, as in https://green.example:8443."),
                params={"origin": origin},
            )


# The kind of source that is an environment's own metrics endpoint (metrics/sources/).
ENDPOINT = "endpoint"
# The kinds that can answer for the past, so that there is no need to ask in advance.
RANGED_KINDS = ("prometheus", "push")


class EnvironmentQuerySet(models.QuerySet["Environment"]):
    def not_deleted(self) -> EnvironmentQuerySet:
        """Leave out deleted environments."""
        return self.filter(deleting_at__isnull=True)

    def visible_to(self, user: Any) -> EnvironmentQuerySet:
        return self.not_deleted().filter(project__in=Project.objects.visible_to(user))

    def with_baseline(self) -> EnvironmentQuerySet:
        """Return environments that may be asked for a baseline, unless all their sources can answer for the past."""
        past_known = ~models.Q(source_kinds=[]) & models.Q(source_kinds__contained_by=RANGED_KINDS)
        asked = self.exclude(metrics_endpoint="", source_kinds=[])
        return asked.exclude(past_known, baseline_interval_s__isnull=True).filter(
            endpoint_blocked_at__isnull=True,
            deleting_at__isnull=True,
            project__archived_at__isnull=True,
            project__deleting_at__isnull=True,
        )


class LatencyUnit(models.TextChoices):
    MS = units.MS, _("milliseconds")
    SECONDS = units.SECONDS, _("seconds")


class RatioUnit(models.TextChoices):
    RATIO = units.RATIO, _("ratio, 0 to 1")
    PERCENT = units.PERCENT, _("per cent, 0 to 100")


def unit_field(name: Any, choices: type[models.TextChoices], default: str) -> models.CharField[Any, Any]:
    """Return the column of a metric's unit in the endpoint's answers; samples are stored in ms and ratios."""
    return models.CharField(name, max_length=10, choices=choices, default=default, db_default=default)


class Environment(models.Model):
    """A place where a project runs (prod, staging, …), with its own metrics endpoint."""

    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="environments", verbose_name=_("project")
    )
    name = models.CharField(_("name"), max_length=100)
    metrics_endpoint = models.CharField(
        _("metrics endpoint"), max_length=2048, blank=True, validators=[validate_endpoint]
    )
    latency_p95_unit = unit_field(_("unit of p95 latency"), LatencyUnit, units.MS)
    error_rate_unit = unit_field(_("unit of the error rate"), RatioUnit, units.RATIO)
    cpu_usage_unit = unit_field(_("unit of CPU usage"), RatioUnit, units.RATIO)
    memory_usage_unit = unit_field(_("unit of memory usage"), RatioUnit, units.RATIO)
    source_kinds = models.JSONField(
        default=list,
        db_default=models.Value([], models.JSONField()),
        editable=False,
        help_text="The kinds of the sources that measure it (metrics_sources); empty: its metrics endpoint alone.",
    )
    hmac_secret = EncryptedTextField(blank=True, editable=False)
    previous_hmac_secret = EncryptedTextField(
        blank=True, editable=False, default="", db_default="", help_text="Still tried until previous_hmac_until."
    )
    previous_hmac_until = models.DateTimeField(null=True, blank=True, editable=False)
    previous_hmac_used_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When the endpoint last knew only the previous secret."
    )
    endpoint_blocked_at = models.DateTimeField(
        _("endpoint blocked at"),
        null=True,
        blank=True,
        editable=False,
        help_text="Since when ops have it not asked; empty: it is asked.",
    )
    endpoint_blocked_reason = models.CharField(
        _("reason for the block"), max_length=200, blank=True, editable=False, default="", db_default=""
    )
    deleting_at = models.DateTimeField(null=True, blank=True, editable=False)
    policy = models.JSONField(
        _("policy"),
        default=dict,
        blank=True,
        validators=[validate_policy],
        help_text='What differs from the default policy, for example {"limits": {"latency_p95": 800}}.',
    )
    baseline_interval_s = models.PositiveIntegerField(
        _("seconds between baseline samples"),
        null=True,
        blank=True,
        help_text="Seconds between two baseline samples; empty: what the plan gives, never less than that; 0: none.",
    )
    settle_s = models.PositiveSmallIntegerField(
        _("settling time (s)"),
        default=0,
        db_default=0,
        validators=[MaxValueValidator(MAX_SETTLE_S)],
        help_text="Seconds between finish and the window, for example for caches to fill; a call may say otherwise.",
    )
    origins = models.JSONField(
        _("further origins"),
        default=list,
        db_default=models.Value([], models.JSONField()),
        blank=True,
        editable=False,
        help_text="Origins besides the endpoint's that calls may name to be measured, and that get signed requests.",
    )
    created_at = models.DateTimeField(_("created at"), db_default=Now(), editable=False)

    objects = EnvironmentQuerySet.as_manager()

    class Meta:
        verbose_name = _("environment")
        verbose_name_plural = _("environments")
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="one_environment_name_per_project")]

    def __str__(self) -> str:
        return f"{self.project} / {self.name}"

    @property
    def signs(self) -> bool:
        """Return whether requests to the metrics endpoint are signed."""
        return bool(self.hmac_secret)

    @property
    def asks_endpoint(self) -> bool:
        """Return whether its metrics endpoint is asked, where it has one: not where only other sources measure it."""
        return not self.source_kinds or ENDPOINT in self.source_kinds

    @property
    def measured(self) -> bool:
        """Return whether there is something that its samples can come from."""
        return bool(self.metrics_endpoint) if self.asks_endpoint else True

    @property
    def past_known(self) -> bool:
        """Return whether all its sources can answer for the past."""
        return bool(self.source_kinds) and set(self.source_kinds) <= set(RANGED_KINDS)

    @property
    def units(self) -> Units:
        """Return the units in which the metrics endpoint answers."""
        return Units(**{metric: getattr(self, f"{metric}_unit") for metric in METRICS_WITH_UNITS})

    def in_grace(self, now: datetime) -> bool:
        """Return whether the secret from before a rotation is still tried where the endpoint refuses the new one."""
        until = self.previous_hmac_until
        return bool(self.hmac_secret and self.previous_hmac_secret) and until is not None and now < until

    @property
    def effective_baseline_interval_s(self) -> int:
        """Seconds between two baseline samples; 0: none."""
        if self.baseline_interval_s == 0 or not self.measured:
            return 0
        if self.baseline_interval_s is None and self.past_known:
            return 0
        if self.endpoint_blocked_at or self.deleting_at or self.project.archived_at or self.project.deleting_at:
            return 0
        return max(self.baseline_interval_s or 0, self.project.baseline_interval_s)


class PolicySource(models.TextChoices):
    DASHBOARD = "dashboard", pgettext_lazy("source of a policy", "Dashboard")
    FILE = "file", pgettext_lazy("source of a policy", "File")
    ADMIN = "admin", pgettext_lazy("source of a policy", "Admin")


class PolicyVersion(models.Model):
    """A version of an environment's policy. Verdicts name the one that they were judged by."""

    environment = models.ForeignKey(
        Environment, on_delete=models.CASCADE, related_name="policy_versions", verbose_name=_("environment")
    )
    number = models.PositiveIntegerField(_("number"))
    policy = models.JSONField(_("policy"), default=dict)
    source = models.CharField(_("source"), max_length=10, choices=PolicySource)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, verbose_name=_("created by"))
    created_at = models.DateTimeField(_("created at"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("policy version")
        verbose_name_plural = _("policy versions")
        constraints = [models.UniqueConstraint(fields=["environment", "number"], name="one_policy_per_number")]

    def __str__(self) -> str:
        return f"policy {self.number} of {self.environment}"


class ExcludedWindow(models.Model):
    """A time that a user has excluded from an environment's baseline: an incident, a load test."""

    environment = models.ForeignKey(
        Environment, on_delete=models.CASCADE, related_name="excluded_windows", verbose_name=_("environment")
    )
    starts_at = models.DateTimeField(_("starts at"))
    ends_at = models.DateTimeField(_("ends at"))
    reason = models.CharField(_("reason"), max_length=200, blank=True)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, verbose_name=_("created by"))
    created_at = models.DateTimeField(_("created at"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("excluded window")
        verbose_name_plural = _("excluded windows")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(ends_at__gt=models.F("starts_at")), name="window_ends_after_start"
            )
        ]

    def __str__(self) -> str:
        return f"{self.environment} from {self.starts_at:%Y-%m-%d %H:%M} to {self.ends_at:%Y-%m-%d %H:%M}"

    def clean(self) -> None:
        if self.starts_at and self.ends_at and self.ends_at <= self.starts_at:
            raise ValidationError({"ends_at": _("The window has to end after it starts.")})


class Weekday(models.IntegerChoices):
    MONDAY = 0, _("Monday")
    TUESDAY = 1, _("Tuesday")
    WEDNESDAY = 2, _("Wednesday")
    THURSDAY = 3, _("Thursday")
    FRIDAY = 4, _("Friday")
    SATURDAY = 5, _("Saturday")
    SUNDAY = 6, _("Sunday")


class FreezeQuerySet(models.QuerySet["Freeze"]):
    def standing(self) -> FreezeQuerySet:
        """Return those that are in force now or may be later."""
        return self.filter(models.Q(ends_at=None) | models.Q(ends_at__gt=Now()), lifted_at__isnull=True)


class Freeze(models.Model):
    """A time in which deployments do not begin, in one environment or in all of a team.

    From starts_at until ends_at (None: until it is lifted); with weekdays and times only in that part of each week, in
    time_zone. The end of a week's part is the next one after its start: Friday 16:00 to Monday 8:00 is a weekend.
    """

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="freezes", verbose_name=_("team"))
    environment = models.ForeignKey(
        Environment,
        on_delete=models.CASCADE,
        related_name="freezes",
        null=True,
        blank=True,
        verbose_name=_("environment"),
        help_text="Empty: all of the team's.",
    )
    reason = models.CharField(_("reason"), max_length=200)
    starts_at = models.DateTimeField(_("starts at"), db_default=Now())
    ends_at = models.DateTimeField(_("ends at"), null=True, blank=True)
    from_weekday = models.PositiveSmallIntegerField(_("from weekday"), choices=Weekday, null=True, blank=True)
    from_time = models.TimeField(_("from time"), null=True, blank=True)
    until_weekday = models.PositiveSmallIntegerField(_("until weekday"), choices=Weekday, null=True, blank=True)
    until_time = models.TimeField(_("until time"), null=True, blank=True)
    time_zone = models.CharField(_("time zone"), max_length=64, default="UTC", validators=[validate_time_zone])
    created_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("created by")
    )
    created_at = models.DateTimeField(_("created at"), db_default=Now(), editable=False)
    lifted_at = models.DateTimeField(_("lifted at"), null=True, blank=True)
    lifted_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("lifted by")
    )

    objects = FreezeQuerySet.as_manager()

    class Meta:
        verbose_name = _("freeze")
        verbose_name_plural = _("freezes")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(ends_at=None) | models.Q(ends_at__gt=models.F("starts_at")),
                name="freeze_ends_after_start",
            ),
            models.CheckConstraint(
                condition=models.Q(
                    from_weekday__isnull=True,
                    from_time__isnull=True,
                    until_weekday__isnull=True,
                    until_time__isnull=True,
                )
                | models.Q(
                    from_weekday__range=(0, 6),
                    from_time__isnull=False,
                    until_weekday__range=(0, 6),
                    until_time__isnull=False,
                ),
                name="freeze_is_whole",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.environment or self.team}: {self.reason}"

    @property
    def is_weekly(self) -> bool:
        return self.from_weekday is not None


class RollbackMode(models.TextChoices):
    """The ladder of trust, one step after the other."""

    OFF = "off", pgettext_lazy("rollbacks", "Off: only count what would have been rolled back")
    ASK = "ask", pgettext_lazy("rollbacks", "Ask: a person approves each rollback")
    AUTOMATIC = "automatic", pgettext_lazy("rollbacks", "Automatic: roll back without asking")


class RollbackPolicy(models.Model):
    """What is done where a rollback of an environment is recommended. No row: nothing (RollbackMode.OFF).

    url: of the webhook that rolls back; secret: that its requests are signed with. verify_within_minutes: so long after
    a request the rollback has to be there as a deployment.
    """

    environment = models.OneToOneField(
        Environment, on_delete=models.CASCADE, related_name="rollback_policy", verbose_name=_("environment")
    )
    mode = models.CharField(_("mode"), max_length=10, choices=RollbackMode, default=RollbackMode.OFF)
    url = EncryptedTextField(default="", editable=False)
    secret = EncryptedTextField(default="", editable=False)
    verify_within_minutes = models.PositiveSmallIntegerField(_("rollback seen within (min)"), default=30)
    changed_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("changed by")
    )
    changed_at = models.DateTimeField(_("changed at"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("rollback setting")
        verbose_name_plural = _("rollback settings")
        db_table = "rollback_policies"

    def __str__(self) -> str:
        return f"{self.environment}: {self.mode}"

    @property
    def fires(self) -> bool:
        return self.mode != RollbackMode.OFF


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def usable(self) -> ApiKeyQuerySet:
        return self.filter(revoked_at__isnull=True)

    def matching(self, secret: str) -> ApiKeyQuerySet:
        """Return the usable key with this secret, if any."""
        return self.usable().filter(key_hash=hash_key(secret))


class LinkKind(models.TextChoices):
    FEED = "feed", _("Atom feed of verdicts")
    BADGE = "badge", _("Badge")
    PAGE = "page", _("Public page")


class PublicLink(models.Model):
    """An address that needs no sign-in. digest: of its token, which is shown once.

    title: how strangers see the project named; environments: ids of those that they see, of a feed none for all.
    """

    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="public_links", verbose_name=_("project")
    )
    kind = models.CharField(_("kind"), max_length=10, choices=LinkKind)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    title = models.CharField(_("title"), max_length=100)
    environments = models.JSONField(_("environments"), default=list, blank=True)
    language = models.CharField(_("language"), max_length=10, choices=settings.LANGUAGES, default="en")
    created_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, editable=False, verbose_name=_("created by")
    )
    created_at = models.DateTimeField(_("created at"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("public link")
        verbose_name_plural = _("public links")
        db_table = "public_links"

    def __str__(self) -> str:
        return f"{self.kind} of {self.project}"


class ApiKey(models.Model):
    """A key that CI calls the API with. Only its hash is stored."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="api_keys", verbose_name=_("project"))
    name = models.CharField(_("name"), max_length=100, default="default")
    prefix = models.CharField(
        _("prefix"), max_length=16, editable=False, help_text="The first characters, to recognise it by."
    )
    key_hash = models.CharField(max_length=64, unique=True, editable=False)
    created_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, editable=False, verbose_name=_("created by")
    )
    created_at = models.DateTimeField(_("created at"), db_default=Now(), editable=False)
    last_used_at = models.DateTimeField(_("last used at"), null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(_("revoked at"), null=True, blank=True, editable=False)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")

    def __str__(self) -> str:
        return f"{self.prefix}… ({self.name})"

    def revoke(self) -> bool:
        """Revoke the key now; return False where it is revoked already."""
        return ApiKey.objects.usable().filter(pk=self.pk).update(revoked_at=Now()) == 1


def hash_key(secret: str) -> str:
    """Return the key's SHA-256 in hex. A key has 256 random bits, so no slower hash is needed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def new_api_key() -> str:
    return API_KEY_PREFIX + secrets.token_urlsafe(32)


def new_hmac_secret() -> str:
    return HMAC_SECRET_PREFIX + secrets.token_urlsafe(32)
