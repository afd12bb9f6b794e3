from django.apps import AppConfig


class SeqPulseConfig(AppConfig):
    name = "seqpulse"

    def ready(self) -> None:
        from seqpulse import checks, request_logging  # noqa: F401  (they register themselves)
