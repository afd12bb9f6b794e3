"""manage.py create_project: a project, its environment, and the secrets that are shown this once."""

import json
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts.models import User
from explain.rendering import render
from metrics.configuring import add_source
from metrics.management.sources import KINDS, config_from, in_words
from metrics.sources.base import InvalidConfig
from projects.guarding import refused_endpoint
from projects.models import PolicySource
from projects.plans import PLANS
from projects.profiles import PROFILES
from projects.services import DEFAULT_TEAM, NewProject, create_project, set_policy, set_units
from projects.units import METRICS_WITH_UNITS, OUR_UNITS, other_unit


class Command(BaseCommand):
    help = "Creates a project with one environment; prints its API key and HMAC secret once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--env", default="prod", help="name of the environment (default: prod)")
        parser.add_argument("--endpoint", default="", help="URL of its metrics endpoint")
        parser.add_argument("--plan", choices=list(PLANS), help="longest window, retention and baseline interval")
        parser.add_argument("--profile", choices=list(PROFILES), help="policy to begin with, for a kind of service")
        parser.add_argument("--hmac", action="store_true", help="sign the requests to the metrics endpoint")
        for metric in METRICS_WITH_UNITS:
            ours = OUR_UNITS.of(metric)
            parser.add_argument(
                f"--{metric.replace('_', '-')}-unit",
                choices=[ours, other_unit(metric, ours)],
                default=ours,
                help=f"in which the endpoint answers {metric} (default: {ours})",
            )
        parser.add_argument("--source", metavar="KIND", help=f"what measures it: {', '.join(KINDS)}")
        parser.add_argument(
            "--source-config", metavar="JSON", default="{}", help="settings of the source; @FILE: in that file"
        )
        parser.add_argument("--team", default=DEFAULT_TEAM, help="name of the team, made if missing")
        parser.add_argument("--owner", help="user name of a user who becomes an owner of the team")
        parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")

    def handle(self, *args: Any, **options: Any) -> None:
        owner = None
        if options["owner"]:
            owner = User.objects.filter(username=options["owner"]).first()
            if owner is None:
                raise CommandError(f"--owner: there is no user {options['owner']!r}. Make one with createsuperuser.")
        try:
            with transaction.atomic():
                made = create_project(
                    options["name"],
                    environment=options["env"],
                    endpoint=options["endpoint"],
                    plan=options["plan"] or "",
                    signed=options["hmac"],
                    team=options["team"],
                    owner=owner,
                )
                if options["profile"]:
                    set_policy(made.environment, dict(PROFILES[options["profile"]]), source=PolicySource.ADMIN)
                if options["source"]:
                    add_source(made.environment, options["source"], config_from(options["source_config"]))
                set_units(made.environment, **{metric: options[f"{metric}_unit"] for metric in METRICS_WITH_UNITS})
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from None
        except InvalidConfig as error:
            raise CommandError(in_words(error)) from None
        endpoint = made.environment.metrics_endpoint
        refused = refused_endpoint(endpoint) if endpoint else None
        if refused is not None:
            self.stderr.write(f"Warning: {render(refused)}")
        self.stdout.write(self.as_json(made) if options["json"] else self.as_text(made))

    def as_json(self, made: NewProject) -> str:
        return json.dumps(
            {
                "project": made.project.name,
                "project_id": str(made.project.uuid),
                "environment": made.environment.name,
                "api_key": made.api_key,
                "hmac_secret": made.hmac_secret,
            }
        )

    def as_text(self, made: NewProject) -> str:
        lines = [
            f"Project      {made.project.name}" + (f" ({made.project.plan})" if settings.SEQPULSE_PLANS else ""),
            f"Environment  {made.environment.name}",
            f"Endpoint     {made.environment.metrics_endpoint or '(the first one that a call brings)'}"
            if made.environment.asks_endpoint
            else f"Source       {', '.join(made.environment.source_kinds)}",
            f"API key      {made.api_key}",
            f"HMAC secret  {made.hmac_secret or '(requests are not signed; --hmac makes one)'}",
            "Keys and secrets are shown this once: store them in your CI's secrets now.",
        ]
        return "\n".join(lines)
