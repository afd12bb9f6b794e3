from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class MetricsConfig(AppConfig):
    name = "metrics"
    verbose_name = _("Metrics")

    def ready(self) -> None:
        import metrics.texts  # noqa: F401  (registers them)
        from deployments.file_sources import announce_sources
        from metrics.from_file import apply_file

        announce_sources(apply_file)
