from django.apps import AppConfig


class SeqPulseConfig(AppConfig):
    name = "seqpulse"

    def ready(self) -> None:
        from seqpulse import checks  # noqa: F401  (registers the checks)
