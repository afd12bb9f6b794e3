from importlib import import_module
from importlib.util import find_spec

from django.apps import AppConfig, apps


class SchedulerConfig(AppConfig):
    name = "scheduler"

    def ready(self) -> None:
        """Register the sentences of failures, and the job kinds that every app has in its module `jobs`."""
        import_module("scheduler.texts")
        for app in apps.get_app_configs():
            if find_spec(f"{app.name}.jobs"):
                import_module(f"{app.name}.jobs")
