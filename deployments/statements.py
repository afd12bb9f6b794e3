"""The usual trigger and the usual finish, each in one statement: key, limit, decision, rows and answer.

What is unusual (another deployment to be read, an endpoint to be taken, a policy, force, a freeze, an unknown or
archived environment, a lost race) is left to deployments/services.py, which decides everything and answers alike: a
statement that does not find its case usual has written nothing but the count of the call.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection

from common.database import prepared
from deployments.announcer import announcer
from deployments.commits import SHORTEST_SHA
from deployments.control import PRE_SAMPLES, PRE_SPACING_S, notes_about
from deployments.plan import SHORTEST_USE_S
from deployments.services import Trigger, missing_endpoint, under_observation
from explain.facts import Fact
from projects.authentication import CALLING, Counter, SeenKey
from projects.models import Environment
from projects.plans import PLANS
from scheduler.queue import DUE_SOON, notify, writing

# Both ways log the same lines.
logger = structlog.get_logger("deployments.services")

# Project.effective_window_minutes; NULL for an unknown plan.
_CASES = " ".join(f"WHEN '{name}' THEN {plan.window_minutes}" for name, plan in PLANS.items())
WINDOW = f"least(coalesce(nullif(window_minutes, 0), CASE plan {_CASES} END), CASE plan {_CASES} END)"
INTERVAL = "make_interval(secs => %(interval_s)s::float8)"
# deployments.plan.valid_for
PRE_SPACING = f"least({INTERVAL}, '{PRE_SPACING_S} s')"
PRE_EXPIRES = f"started_at + greatest(window_samples * {INTERVAL}, '{SHORTEST_USE_S} s')"
LAST_PRE = f"CASE WHEN %(control)s = '' THEN 0 ELSE {PRE_SAMPLES - 1} END"
VALID_FOR = f"greatest({INTERVAL}, '{SHORTEST_USE_S} s')"

# Who announces the changes, the triggers at once or `run` later, and whether pollers are to be woken.
AFTER = f"""set_config('seqpulse.announce', %(announce)s, true), (SELECT {DUE_SOON} FROM written)"""  # noqa: S608  (ours)

# Whether a freeze of every week may be in force: its window, with a margin for nights in which clocks change. An error
# where PostgreSQL does not know its time zone; the call then goes the other way. As projects.freezing has it.
WEEK_S, MARGIN_S = 7 * 86400, 2 * 3600
_BEGIN, _END = (f"(frozen.{end}_weekday * 86400 + extract(epoch FROM frozen.{end}_time))" for end in ("from", "until"))
_LOCAL = "(statement_timestamp() AT TIME ZONE frozen.time_zone)"
_IN_WEEK = f"extract(epoch FROM {_LOCAL} - date_trunc('week', {_LOCAL}))"
IN_WINDOW = f"""(frozen.from_weekday IS NULL OR mod({_IN_WEEK} - {_BEGIN} + {WEEK_S + MARGIN_S}, {WEEK_S})
            < mod({_END} - {_BEGIN} + {WEEK_S - 1}, {WEEK_S}) + {2 * MARGIN_S})"""

# As Environment.asks_endpoint and measured.
ASKS_ENDPOINT = """(environment.source_kinds = '[]' OR environment.source_kinds @> '["endpoint"]')"""
MEASURED = f"(environment.metrics_endpoint <> '' OR NOT {ASKS_ENDPOINT})"

# As services.find_or_insert decides. A rollback (rolls_back_to) needs a good earlier deployment of a commit that
# begins alike, and another commit since. MATERIALIZED: else PostgreSQL, where there are few environments, looks at the
# deployments of all that have this name, and only then at whose they are.
TRIGGER = f"""
WITH {CALLING},
named AS MATERIALIZED (SELECT environment.id, {MEASURED} AS measured, environment.settle_s,
        CASE WHEN %(control)s <> '' THEN json_build_array(metrics_endpoint, source_kinds, origins)::text END AS about,
        environment.project_id, allowed.team_id
    FROM projects_environment AS environment JOIN allowed ON allowed.id = environment.project_id
    WHERE environment.name = %(env)s AND environment.deleting_at IS NULL
    AND (%(given)s IN ('', environment.metrics_endpoint) OR NOT {ASKS_ENDPOINT})),
place AS (SELECT * FROM named AS environment
    WHERE NOT EXISTS (SELECT FROM projects_freeze AS frozen
        WHERE frozen.team_id = environment.team_id AND coalesce(frozen.environment_id, environment.id) = environment.id
        AND lifted_at IS NULL AND starts_at <= statement_timestamp() AND coalesce(ends_at > now(), true)
        AND {IN_WINDOW})
    AND NOT EXISTS (SELECT FROM deployments WHERE environment_id = environment.id AND state = 'running')
    AND (%(idempotency_key)s = '' OR (
        NOT EXISTS (SELECT FROM deployment_keys WHERE environment_id = environment.id AND key = %(idempotency_key)s)
        AND NOT EXISTS (SELECT FROM deployments
            WHERE environment_id = environment.id AND idempotency_key = %(idempotency_key)s)))
    AND (%(kind)s <> '' OR %(commit_sha)s = ''
        OR lower(%(commit_sha)s) = (SELECT lower(commit_sha) FROM deployments
            WHERE environment_id = environment.id AND kind <> 'verification' ORDER BY started_at DESC, id DESC LIMIT 1)
        OR NOT EXISTS (SELECT FROM deployments AS earlier
            JOIN deployment_verdicts AS verdict ON verdict.deployment_id = earlier.id
            WHERE earlier.environment_id = environment.id AND earlier.commit_sha <> ''
            AND left(lower(earlier.commit_sha), {SHORTEST_SHA}) = left(lower(%(commit_sha)s), {SHORTEST_SHA})
            AND verdict.verdict = 'ok' AND verdict.conclusive))),
next AS (UPDATE projects_project AS project SET last_number = last_number + 1 FROM place
    WHERE project.id = place.project_id AND archived_at IS NULL AND deleting_at IS NULL AND {WINDOW} IS NOT NULL
    RETURNING project.id, last_number, {WINDOW} AS samples),
inserted AS (INSERT INTO deployments (uuid, number, project_id, environment_id, state, pipeline_result, started_at,
        window_samples, interval_s, settle_s, idempotency_key, kind, branch, commit_sha, version, author, url,
        commit_message, committed_at, control)
    SELECT gen_random_uuid(), last_number, next.id, place.id, 'running', '', now(),
        samples, %(interval_s)s::float8, coalesce(nullif(%(settle_s)s, '')::int, place.settle_s),
        nullif(%(idempotency_key)s, ''), coalesce(nullif(%(kind)s, ''), 'deployment'), %(branch)s, %(commit_sha)s,
        %(version)s, %(author)s, %(url)s, %(commit_message)s, nullif(%(committed_at)s, '')::timestamptz,
        nullif(%(control)s, '')::jsonb
    FROM next, place
    RETURNING id, uuid, number, started_at, environment_id, project_id, idempotency_key, window_samples),
remembered AS (INSERT INTO deployment_keys (environment_id, key, deployment_id)
    SELECT environment_id, idempotency_key, id FROM inserted WHERE idempotency_key IS NOT NULL),
written AS ({
    writing(
        f'''(SELECT 'pre_collect' AS job_type, started_at + place * {PRE_SPACING} AS scheduled_at, id AS deployment_id,
        'pre' AS phase, place AS sequence_index, {PRE_EXPIRES} AS expires_at,
        NULL AS unique_key, project_id AS fair_key, '{{}}'::jsonb AS job_metadata
        FROM inserted, generate_series(0, {LAST_PRE}) AS place) AS new'''
    )
})
SELECT (SELECT value FROM counted), {AFTER}, caller.uuid, inserted.id, inserted.uuid,
    inserted.number, place.measured, place.about
FROM caller LEFT JOIN inserted ON true LEFT JOIN place ON true
"""  # noqa: S608  (names of our own columns, constants)

# As services.finish_deployment decides. The clock may have been set back since trigger.
FINISH = f"""
WITH {CALLING},
closed AS (UPDATE deployments AS deployment SET state = 'finished', pipeline_result = %(result)s, finished_at = now(),
        duration_ms = greatest(0, round(extract(epoch FROM now() - started_at) * 1000)),
        window_samples = {WINDOW}, interval_s = %(interval_s)s::float8
    FROM allowed, projects_environment AS environment
    WHERE deployment.uuid = %(uuid)s::uuid AND deployment.project_id = allowed.id AND state = 'running'
    AND environment.id = deployment.environment_id AND {WINDOW} IS NOT NULL
    AND (%(given)s IN ('', environment.metrics_endpoint) OR environment.deleting_at IS NOT NULL
        OR NOT {ASKS_ENDPOINT})
    RETURNING deployment.id, deployment.project_id, deployment.settle_s, deployment.window_samples,
        {MEASURED} AS measured, now() + make_interval(secs => deployment.settle_s) AS start),
written AS ({
    writing(
        f'''(SELECT 'post_collect' AS job_type, start + number * {INTERVAL} AS scheduled_at, id AS deployment_id,
        'post' AS phase, number AS sequence_index, start + number * {INTERVAL} + {VALID_FOR} AS expires_at,
        NULL AS unique_key, project_id AS fair_key, '{{}}'::jsonb AS job_metadata
        FROM closed, generate_series(1, window_samples) AS number
        UNION ALL SELECT 'analysis', start + window_samples * {INTERVAL} + {VALID_FOR}, id, '', 0, NULL, NULL,
        project_id, '{{}}' FROM closed) AS new'''
    )
})
SELECT (SELECT value FROM counted), {AFTER}, caller.uuid, closed.id, closed.settle_s,
    closed.window_samples, closed.measured
FROM caller LEFT JOIN closed ON true
"""  # noqa: S608  (names of our own columns, constants)


@dataclass(frozen=True, slots=True)
class Done:
    """What a statement did.

    used: the calls of the limit's period with this one, None where they are not counted; uuid: of the deployment that
    it started or finished, None where the call was not usual.
    """

    used: int | None
    uuid: UUID | None = None
    number: int = 0
    notes: Sequence[Fact] = ()


def run(statement: str, key: SeenKey, counter: Counter, values: dict[str, str]) -> tuple[Any, ...] | None:
    """Run TRIGGER or FINISH and have announced what it changed.

    Returns: its row without the columns of AFTER; None where the key is not usable any more.
    """
    later = not connection.in_atomic_block
    common = {
        "interval_s": str(settings.SEQPULSE_SAMPLE_INTERVAL_SECONDS),
        "announce": "later" if later else "now",
    }
    rows = prepared(statement, {**key.calling(counter), **common, **values})
    if not rows:
        return None
    [(used, _, jobs_due, project, deployment_id, *others)] = rows
    if deployment_id is not None and later:
        announcer.announce(deployment_id, jobs_due=jobs_due)
    elif jobs_due:
        notify()
    return used, project, *others


# Texts of a trigger call that become columns as they are.
SHOWN = ("kind", "branch", "commit_sha", "version", "author", "url", "commit_message")


def start(key: SeenKey, counter: Counter, trigger: Trigger) -> Done | None:
    """Start the deployment of a usual call; return None where the key is not usable any more."""
    committed_at: datetime | None = trigger.facts.get("committed_at")
    values = {
        **{name: trigger.facts.get(name, "") for name in SHOWN},
        "env": trigger.env,
        "given": trigger.metrics_endpoint,
        "idempotency_key": trigger.idempotency_key or "",
        "settle_s": "" if trigger.settle_s is None else str(trigger.settle_s),
        "committed_at": committed_at.isoformat() if committed_at else "",
        "control": json.dumps(trigger.control.as_json()) if trigger.control else "",
    }
    row = run(TRIGGER, key, counter, values)
    if row is None:
        return None
    used, project, uuid, number, measured, about = row
    if uuid is None:
        return Done(used)
    logger.info("deployment_started", deployment_id=str(uuid), project_id=str(project))
    notes = missing_endpoint(measured)
    if about:
        endpoint, kinds, origins = json.loads(about)
        environment = Environment(metrics_endpoint=endpoint, source_kinds=kinds, origins=origins)
        notes += notes_about(trigger.control, environment)
    return Done(used, uuid, number, notes)


def finish(key: SeenKey, counter: Counter, uuid: UUID, *, result: str, metrics_endpoint: str = "") -> Done | None:
    """Finish the deployment of a usual call; return None where the key is not usable any more."""
    row = run(FINISH, key, counter, {"uuid": str(uuid), "result": result, "given": metrics_endpoint})
    if row is None:
        return None
    used, project, settle_s, samples, measured = row
    if samples is None:
        return Done(used)
    logger.info("deployment_finished", deployment_id=str(uuid), project_id=str(project), result=result)
    return Done(used, uuid, notes=[*under_observation(settle_s, samples), *missing_endpoint(measured)])
