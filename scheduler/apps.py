from importlib import import_module
from importlib.util import find_spec

from django.apps import AppConfig, apps
from django.utils.translation import gettext_lazy as _


class SchedulerConfig(AppConfig):
    name = "scheduler"
    verbose_name = _("Scheduler")

    def ready(self) -> None:
        """Register the sentences of failures, and the job kinds that every app has in its module `jobs`."""
        import_module("scheduler.texts")
        for app in apps.get_app_configs():
            if find_spec(f"{app.name}.jobs"):
                import_module(f"{app.name}.jobs")
