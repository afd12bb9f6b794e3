"""Samples in the API."""

from rest_framework import serializers

from metrics.models import MetricSample


class SampleSerializer(serializers.ModelSerializer[MetricSample]):
    custom = serializers.DictField(
        source="custom_metrics", child=serializers.FloatField(), help_text="Custom metrics by name; null: none."
    )

    class Meta:
        model = MetricSample
        fields = [
            "phase",
            "sequence_index",
            "collected_at",
            "requests_per_sec",
            "latency_p95",
            "error_rate",
            "cpu_usage",
            "memory_usage",
            "custom",
            "instances",
        ]
