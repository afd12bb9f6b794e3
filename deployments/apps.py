from django.apps import AppConfig


class DeploymentsConfig(AppConfig):
    name = "deployments"

    def ready(self) -> None:
        """Jobs are called by their deployment's public id in logs."""
        from deployments.tracing import public_ids
        from scheduler.tracing import announce_names

        announce_names(public_ids)
