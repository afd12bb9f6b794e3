"""manage.py sources: list, add, change, move, remove and test the sources of an environment."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from explain.facts import Fact
from explain.rendering import render
from metrics.configuring import add_source, change_source, kind_named, remove_source, reveal, try_source
from metrics.management.sources import KINDS, config_from, environment_named, in_words
from metrics.models import Source
from metrics.payload import METRICS
from metrics.source_lists import as_listed, move_source
from metrics.sources.base import InvalidConfig
from projects.models import Environment

# Ratios have none: they are shown as they are judged, 0..1.
UNITS = {"requests_per_sec": " req/s", "latency_p95": " ms"}


class Command(BaseCommand):
    help = "Shows and changes what an environment is measured by; secrets are never printed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--project", required=True, help="its name or id")
        parser.add_argument("--env", default="prod", help="name of the environment (default: prod)")
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--add", metavar="KIND", help=f"add a source: {', '.join(KINDS)}")
        what.add_argument("--change", type=int, metavar="NUMBER", help="give a source of the list other settings")
        what.add_argument("--up", type=int, metavar="NUMBER", help="move a source up: its metrics go first")
        what.add_argument("--remove", type=int, metavar="NUMBER", help="remove a source of the list")
        what.add_argument("--test", action="store_true", help="ask every source now, and print what comes")
        parser.add_argument("--config", metavar="JSON", default="{}", help="settings; @FILE: in that file")
        parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")

    def handle(self, *args: Any, **options: Any) -> None:
        environment = environment_named(options["project"], options["env"])
        rows = list(environment.sources.all())
        try:
            if options["add"]:
                add_source(environment, options["add"], config_from(options["config"]))
            elif options["change"] is not None:
                change_source(at(rows, options["change"]), config_from(options["config"]))
            elif options["up"] is not None:
                move_source(at(rows, options["up"]), -1)
            elif options["remove"] is not None:
                remove_source(at(rows, options["remove"]))
            elif options["test"]:
                self.test(environment, rows, as_json=options["json"])
                return
        except InvalidConfig as error:
            raise CommandError(in_words(error)) from None
        found = [in_short(row) for row in environment.sources.all()]
        if options["json"]:
            self.stdout.write(json.dumps({"sources": found}))
            return
        for number, one in enumerate(found, 1):
            state = one["failure"] or (f"answered {one['answered_at']}" if one["answered_at"] else "not asked yet")
            self.stdout.write(f"{number}  {one['kind']}  {json.dumps(one['config'])}  {state}")
        if not found:
            self.stdout.write(f"No source: {environment.metrics_endpoint or 'nothing'} is asked.")

    def test(self, environment: Environment, rows: list[Source], *, as_json: bool) -> None:
        """Ask each source once. Raises CommandError where one gives nothing."""
        found = []
        for row in rows:
            tried = try_source(environment, row.kind, reveal(row))
            known = {name: getattr(tried.metrics, name) for name in METRICS}
            metrics = {name: value for name, value in known.items() if value is not None} | tried.metrics.custom
            problem = render(tried.problem) if tried.problem else None
            notes = [render(fact) for fact in tried.told]
            instances = tried.metrics.instances
            found.append(
                {"kind": row.kind, "metrics": metrics, "instances": instances, "problem": problem, "notes": notes}
            )
            if not as_json:
                self.stdout.write(f"{row.kind}  {tried.took_ms:.0f} ms{of_instances(instances)}")
                for name, value in metrics.items():
                    self.stdout.write(f"  {name}  {value:g}{UNITS.get(name, '')}")
                for text in [*notes, *([problem] if problem else [])]:
                    self.stdout.write(f"  {text}")
        if as_json:
            self.stdout.write(json.dumps({"sources": found}))
        if not found:
            raise CommandError("There is no source to test.")
        if all(one["problem"] for one in found):
            raise CommandError("No source gave a metric.")


def of_instances(instances: int | None) -> str:
    """Return the end of a line that says how many instances answered, "" where that is not known."""
    return "" if instances is None else f", {instances} instance{'' if instances == 1 else 's'}"


def in_short(row: Source) -> dict[str, Any]:
    """Return a source as the command prints it."""
    one = as_listed(row)
    failure: Fact | None = one["failure"]
    answered = row.answered_at.isoformat(timespec="seconds") if row.answered_at else None
    return {
        "kind": one["kind"],
        "config": one["config"],
        "secrets": one["secrets"],
        "answered_at": answered,
        "failure": render(failure) if failure else None,
        "label": str(kind_named(row.kind).label),
    }


def at(rows: list[Source], number: int) -> Source:
    """Return the source at a place of the list, from 1. Raises CommandError."""
    if not 1 <= number <= len(rows):
        raise CommandError(f"There is no source {number}: the list has {len(rows)}.")
    return rows[number - 1]
