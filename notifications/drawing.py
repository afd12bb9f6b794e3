"""The charts of messages about verdicts: of the metric with the most severe failure, as far as its samples exist."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.utils import translation

from analysis.charts import Before, Chart, draw, span_of
from analysis.evidence import load_baselines, policy_of
from analysis.judge.types import CUSTOM, METRICS, UNREACHABLE, Check
from deployments.models import Deployment
from metrics.models import MetricSample, Phase
from notifications.channels import channel_kind
from notifications.headlines import Said, part, parts
from notifications.models import Delivery


def charts_of(deliveries: Iterable[Delivery], said: Mapping[int, Said]) -> dict[int, Chart]:
    """Return by its id the chart of each delivery that has one. said: the parameters of each event, by its id."""
    wanted = {one.pk: (one, check) for one in deliveries if (check := drawn_check(one, said[one.event.pk])) is not None}
    ids = {one.event.deployment_id for one, _ in wanted.values()}
    if not ids:
        return {}
    deployments = Deployment.objects.select_related("environment", "policy_version").in_bulk(ids)
    samples: dict[int | None, list[MetricSample]] = {}
    for sample in MetricSample.objects.of_all(list(deployments.values())).order_by("collected_at", "id"):
        samples.setdefault(sample.deployment_id, []).append(sample)
    baselines = load_baselines(list(deployments.values()))
    found = {}
    for pk, (delivery, check) in wanted.items():
        deployment = deployments.get(delivery.event.deployment_id)
        own = samples.get(delivery.event.deployment_id, [])
        if deployment is None or not any(sample.phase == Phase.POST for sample in own):
            continue
        custom = policy_of(deployment).custom(check.metric)
        if check.rule == CUSTOM and custom is None:
            continue
        before = [
            one for one in baselines.get(deployment.environment_id, []) if one.collected_at < deployment.started_at
        ]
        with translation.override(delivery.channel.language):
            found[pk] = draw(
                check.metric, own, span_of(deployment), check, earlier=Before(baseline=before), custom=custom
            )
    return found


def drawn_check(delivery: Delivery, said: Said) -> Check | None:
    """Return the most severe failed check about the level of a metric; None where the channel draws none."""
    kind = channel_kind(delivery.channel.kind)
    if kind is None or not kind.draws or delivery.event.deployment_id is None:
        return None
    for one in parts(part(said, "verdict"), "checks"):
        if (one.get("metric") in METRICS or one.get("rule") == CUSTOM) and one.get("rule") != UNREACHABLE:
            observed, baseline = level(one, "observed"), level(one, "baseline")
            fell = one.get("rule") == CUSTOM and (observed or 0.0) < (baseline or 0.0)
            return Check(
                metric=one["metric"],
                rule=one["rule"],
                outcome=one["outcome"],
                code="",
                observed=observed,
                baseline=baseline,
                limit=level(one, "limit"),
                details={"moves": "down"} if fell else {},
            )
    return None


def level(stored: Mapping[str, Any], name: str) -> float | None:
    value = stored.get(name)
    return float(value) if isinstance(value, int | float) else None
