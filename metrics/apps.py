from django.apps import AppConfig


class MetricsConfig(AppConfig):
    name = "metrics"

    def ready(self) -> None:
        import metrics.texts  # noqa: F401  (registers them)
