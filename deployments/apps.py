from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class DeploymentsConfig(AppConfig):
    name = "deployments"
    verbose_name = _("Deployments")

    def ready(self) -> None:
        """Announce to the scheduler how logs name a deployment's jobs, and which of them must not be pruned."""
        import deployments.texts  # noqa: F401  (registers the sentences)
        from deployments.tracing import NOT_YET_JUDGED, public_ids
        from scheduler.operations import keep_jobs_where
        from scheduler.tracing import announce_names

        announce_names(public_ids)
        keep_jobs_where(NOT_YET_JUDGED)
