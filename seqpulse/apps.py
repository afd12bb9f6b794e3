from django.apps import AppConfig


class SeqPulseConfig(AppConfig):
    name = "seqpulse"

    def ready(self) -> None:
        import seqpulse.checks
        import seqpulse.observability.request_logging  # noqa: F401  (they register themselves)
