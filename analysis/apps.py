from django.apps import AppConfig


class AnalysisConfig(AppConfig):
    name = "analysis"

    def ready(self) -> None:
        from analysis.policy import policy_from_dict
        from projects.policies import read_policies_with

        read_policies_with(policy_from_dict)
