"""GET /deployments/{id}/metrics: the samples of one deployment and of its control group."""

from uuid import UUID

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import inline_serializer
from rest_framework.request import Request
from rest_framework.response import Response

from common.listing import StrictAPIView
from common.openapi import described
from deployments.models import Deployment
from metrics.models import Group, MetricSample
from metrics.serializers import SampleSerializer
from projects.authentication import project_of
from security.limits import DEPLOYMENTS, limited


@limited(DEPLOYMENTS)
class DeploymentMetricsView(StrictAPIView):
    """Samples of a deployment, oldest first."""

    @described(
        operation_id="deployment_metrics",
        responses=inline_serializer(
            "DeploymentMetrics", {"samples": SampleSerializer(many=True), "control": SampleSerializer(many=True)}
        ),
    )
    def get(self, request: Request, uuid: UUID) -> Response:
        """The samples of the deployment, before and after, and those of its control group, oldest first.

        Units: 1/s, ms, ratios 0..1.
        """
        deployment = get_object_or_404(Deployment.objects.of(project_of(request)), uuid=uuid)
        rows = list(MetricSample.objects.of(deployment, groups=Group.values))
        groups = {"samples": Group.TREATMENT, "control": Group.CONTROL}
        return Response(
            {
                name: SampleSerializer([row for row in rows if row.group == group], many=True).data
                for name, group in groups.items()
            }
        )
