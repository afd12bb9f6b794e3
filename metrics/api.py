"""GET /deployments/{id}/metrics: the samples of one deployment."""

from uuid import UUID

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import inline_serializer
from rest_framework.request import Request
from rest_framework.response import Response

from common.listing import StrictAPIView
from common.openapi import described
from deployments.models import Deployment
from metrics.models import MetricSample
from metrics.serializers import SampleSerializer
from projects.authentication import project_of
from security.limits import DEPLOYMENTS, limited


@limited(DEPLOYMENTS)
class DeploymentMetricsView(StrictAPIView):
    """Samples of a deployment, oldest first."""

    @described(
        operation_id="deployment_metrics",
        responses=inline_serializer("DeploymentMetrics", {"samples": SampleSerializer(many=True)}),
    )
    def get(self, request: Request, uuid: UUID) -> Response:
        """The samples of the deployment, before and after, oldest first. Units: 1/s, ms, ratios 0..1."""
        deployment = get_object_or_404(Deployment.objects.of(project_of(request)), uuid=uuid)
        samples = MetricSample.objects.of(deployment)
        return Response({"samples": SampleSerializer(samples, many=True).data})
