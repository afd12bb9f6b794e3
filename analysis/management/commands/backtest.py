"""`manage.py backtest CASES.jsonl`: judges recorded cases again, without a database."""

from __future__ import annotations

import json
import sys
import time
import traceback
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

from django.core.management.base import BaseCommand, CommandError

from analysis.cases import CaseError, error_result, judge_case, parse_case, to_line
from analysis.policy import Policy, policy_from_dict

PROGRESS_EVERY_S = 2.0
ERRORS_SHOWN = 50


class Command(BaseCommand):
    help = (
        "Judge cases from a file, one JSON object per line, and write one result per line in the same order. Needs no "
        "database. Exit code 1 if any line could not be judged; the others are judged all the same. Blank lines are "
        "skipped."
    )
    # Neither checks nor migrations: the command must work where no database can be reached.
    requires_system_checks = ()
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("cases", metavar="CASES.jsonl", help='file with one case per line; "-" reads stdin')
        parser.add_argument("--output", metavar="FILE", help="write results here instead of stdout")
        parser.add_argument(
            "--policy",
            default="fixed",
            metavar="POLICY",
            help='a kind of policy with its defaults ("fixed"), or a JSON file with overrides (default: fixed)',
        )

    def handle(self, *args: Any, **options: Any) -> None:
        policy = _read_policy(options["policy"])
        _refuse_same_file(options["cases"], options["output"])
        tally: Counter[str] = Counter()
        try:
            with _cases(options["cases"]) as cases, self._output(options["output"]) as output:
                for result in self._results(cases, policy):
                    tally[result.get("verdict", "error")] += 1
                    output.write(to_line(result) + "\n")
        except OSError as error:
            raise CommandError(f"{error.filename or 'results'}: {error.strerror}") from None
        self.stderr.write(f"{tally.total()} cases: " + ", ".join(f"{count} {name}" for name, count in tally.items()))
        if tally["error"]:
            raise CommandError(
                f"{tally['error']} of {tally.total()} lines could not be judged, see above", returncode=1
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
            # A defect of a rule shows in one line, with its traceback, and does not take the other cases along.
            self.stderr.write(f"line {number}: case {case_id!r} could not be judged\n{traceback.format_exc()}")
            return error_result(error, case_id)

    def _output(self, name: str | None) -> AbstractContextManager[Any]:
        return Path(name).open("w", encoding="ascii", newline="\n") if name else nullcontext(self.stdout)


def _cases(name: str) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdin.buffer) if name == "-" else Path(name).open("rb")


def _refuse_same_file(cases: str, output: str | None) -> None:
    if output and Path(output).exists() and Path(cases).exists() and Path(output).samefile(cases):
        raise CommandError("--output is the file of the cases; it would be overwritten before it is read")


def _read_policy(name: str) -> Policy:
    """The policy of a kind's name or of a JSON file."""
    try:
        if Path(name).is_file():
            return policy_from_dict(json.loads(Path(name).read_text(encoding="utf-8")))
        if name.endswith(".json"):
            raise CommandError(f"--policy {name}: no such file")
        return policy_from_dict({"kind": name})
    except (ValueError, RecursionError, OSError) as error:
        raise CommandError(f"--policy {name}: {error}") from None
