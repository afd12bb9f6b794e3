"""`manage.py backtest`: judge recorded cases without a database, or a project's stored deployments."""

import json
import sys
import time
import tomllib
import traceback
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from django.core.management.base import BaseCommand, CommandError
from django.utils.dateparse import parse_date

from analysis.cases import CaseError, error_result, judge_case, parse_case, to_line
from analysis.replay import compare, judged, replay
from deployments.models import Deployment, DeploymentQuerySet
from projects.models import Project
from projects.policies import wrong_fields
from projects.policy import InvalidPolicy, Policy, policy_from_dict

PROGRESS_EVERY_S = 2.0
ERRORS_SHOWN = 50


class Command(BaseCommand):
    help = (
        "Judge cases from a file, one JSON object per line, and write one result per line in the same order; that "
        "needs no database. Or, with --project, judge its stored deployments again. Exit code 1 if any line could not "
        "be judged; the others are judged all the same. Blank lines are skipped."
    )
    # No checks or migrations: the command must work without a database.
    requires_system_checks = ()
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("cases", nargs="?", metavar="CASES.jsonl", help='one case per line; "-" reads stdin')
        parser.add_argument("--project", metavar="NAME", help="replay this project's deployments instead of cases")
        parser.add_argument("--env", metavar="NAME", help="with --project: only this environment's")
        parser.add_argument("--since", metavar="DATE", help="with --project: only those begun since then, YYYY-MM-DD")
        parser.add_argument("--output", metavar="FILE", help="write results here instead of stdout")
        parser.add_argument(
            "--policy",
            metavar="POLICY",
            help="a kind of policy with its defaults (adaptive, fixed), or a JSON or TOML file with one; default: "
            "adaptive for cases, each environment's own for --project",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if bool(options["project"]) == bool(options["cases"]):
            raise CommandError("give either a file of cases or --project NAME")
        policy = _read_policy(options["policy"]) if options["policy"] else None
        if options["project"]:
            self._replay(policy, options)
            return
        _refuse_same_file(options["cases"], options["output"])
        tally: Counter[str] = Counter()
        try:
            with _cases(options["cases"]) as cases, self._output(options["output"]) as output:
                for result in self._results(cases, policy or policy_from_dict({})):
                    tally[result.get("verdict", "error")] += 1
                    output.write(to_line(result) + "\n")
        except OSError as error:
            raise CommandError(f"{error.filename or 'results'}: {error.strerror}") from None
        self.stderr.write(f"{tally.total()} cases: " + ", ".join(f"{count} {name}" for name, count in tally.items()))
        if tally["error"]:
            raise CommandError(
                f"{tally['error']} of {tally.total()} lines could not be judged, see above", returncode=1
            )

    def _replay(self, policy: Policy | None, options: dict[str, Any]) -> None:
        replayed = replay(list(_stored(options)), policy)
        rows = [row for row in replayed if row.complete]
        if len(rows) < len(replayed):
            self.stderr.write(f"{len(replayed) - len(rows)} left out: samples that they were judged on are gone")
        with self._output(options["output"]) as output:
            for row in rows:
                output.write(to_line(row.as_dict()) + "\n")
        found = compare(rows)
        self.stderr.write(f"{found.deployments} deployments, {found.changed} with another verdict")
        for before, after, count in found.moves:
            self.stderr.write(f"  {before} -> {after}: {count}")
        if found.marked:
            self.stderr.write(
                f"of {found.marked} that people marked: {found.right_before} right on record,"
                f" {found.right_after} right now"
            )

    def _results(self, cases: BinaryIO, policy: Policy) -> Iterator[dict[str, Any]]:
        judged, failed, reported = 0, 0, time.monotonic()
        for number, line in enumerate(cases, start=1):
            if not line.strip():
                continue
            result = self._judge_line(line, number, policy, quiet=failed >= ERRORS_SHOWN)
            judged += 1
            failed += "error" in result
            if time.monotonic() - reported >= PROGRESS_EVERY_S:
                reported = time.monotonic()
                self.stderr.write(f"{judged} cases judged")
            yield result

    def _judge_line(self, line: bytes, number: int, policy: Policy, *, quiet: bool) -> dict[str, Any]:
        case_id = None
        try:
            case = parse_case(line)
            case_id = case.id
            return judge_case(case, policy)
        except CaseError as error:
            if not quiet:
                self.stderr.write(f"line {number}: {error}")
            return error_result(error, error.case_id)
        except Exception as error:
            # A failing rule is reported with its traceback and does not affect the other cases.
            self.stderr.write(f"line {number}: case {case_id!r} could not be judged\n{traceback.format_exc()}")
            return error_result(error, case_id)

    def _output(self, name: str | None) -> AbstractContextManager[Any]:
        return Path(name).open("w", encoding="ascii", newline="\n") if name else nullcontext(self.stdout)


def _cases(name: str) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdin.buffer) if name == "-" else Path(name).open("rb")


def _refuse_same_file(cases: str, output: str | None) -> None:
    if output and Path(output).exists() and Path(cases).exists() and Path(output).samefile(cases):
        raise CommandError("--output is the file of the cases; it would be overwritten before it is read")


def _stored(options: dict[str, Any]) -> DeploymentQuerySet:
    """Return the deployments selected by --project, --env and --since, oldest first."""
    projects = Project.objects.filter(name__iexact=options["project"])
    if not projects:
        raise CommandError(f"--project: there is no project {options['project']!r}")
    if len(projects) > 1:
        raise CommandError(f"--project: several teams have a project {options['project']!r}")
    found = judged(Deployment.objects.of(projects[0])).order_by("pk")
    if options["env"]:
        found = found.filter(environment__name=options["env"])
    if options["since"]:
        day = parse_date(options["since"])
        if day is None:
            raise CommandError(f"--since: {options['since']!r} is no date; write it as 2026-01-31")
        found = found.filter(started_at__gte=datetime.combine(day, datetime.min.time(), UTC))
    return found


def _read_policy(name: str) -> Policy:
    """Return the policy of a kind, or of a JSON or TOML file."""
    try:
        if Path(name).is_file():
            text = Path(name).read_text(encoding="utf-8")
            return policy_from_dict(tomllib.loads(text) if name.endswith(".toml") else json.loads(text))
        if name.endswith((".json", ".toml")):
            raise CommandError(f"--policy {name}: no such file")
        return policy_from_dict({"kind": name})
    except InvalidPolicy as error:
        raise CommandError(f"--policy {name}: {'; '.join(wrong_fields(error))}") from None
    except (ValueError, RecursionError, OSError) as error:
        raise CommandError(f"--policy {name}: {error}") from None
