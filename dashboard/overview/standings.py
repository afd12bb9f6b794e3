"""Read the standings of all environments of a user in one query: their order, the counts, and which ones a page shows.

The query reads one narrow row per environment (EnvironmentStanding). What a page shows of its environments is then
loaded for these alone (queries.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from django.db import connection
from django.db.models import QuerySet

from common.listing import is_id
from dashboard.overview.parts import ORDER, HealthSummary
from projects.models import Project

# Environments that a page adds. So many that fit on one page with a little patience are not divided.
PAGE_SIZE = 20
UNDIVIDED = 40
# "Show more" adds pages below until so many are shown; then the first ones go.
PAGES_SHOWN = 5
HINTS_SHOWN = 12
WATCHES_SHOWN = 12
# Number of environments in trouble that the headline names.
NAMED = 3
# Projects without an environment that are listed, and projects to choose from.
BARE_SHOWN = 20
OFFERED = 100
LONGEST_SEARCH = 100
DEPLOYED_COUNTED = 10_000
LAST_PAGE = 10_000


@dataclass(frozen=True, slots=True)
class Selection:
    """Which environments are listed: by words of their and their project's names, by health, up to a page."""

    search: str = ""
    health: str = ""
    page: int = 1

    @property
    def first(self) -> int:
        """Return the first page that is shown."""
        return max(1, self.page - PAGES_SHOWN + 1)

    @property
    def is_filtered(self) -> bool:
        return bool(self.search or self.health)

    @property
    def query(self) -> str:
        """Return the query of the URL, with its question mark; "" for the beginning of all."""
        values = {"q": self.search, "health": self.health, "page": str(self.page) if self.page > 1 else ""}
        given = urlencode({name: value for name, value in values.items() if value})
        return f"?{given}" if given else ""

    def of_health(self, health: str) -> "Selection":
        return replace(self, health=health, page=1)

    @property
    def next(self) -> "Selection":
        return replace(self, page=self.page + 1)

    @property
    def start(self) -> "Selection":
        return replace(self, page=1)


def selection_of(query: Mapping[str, str]) -> Selection:
    """Read the selection from the query of a URL. A page that is none is the first one."""
    page = query.get("page", "")
    number = int(page) if is_id(page) else 1
    search = " ".join(query.get("q", "").replace("\0", "")[:LONGEST_SEARCH].split())
    return Selection(search, query.get("health", "")[:LONGEST_SEARCH].replace("\0", ""), min(max(number, 1), LAST_PAGE))


@dataclass(frozen=True, slots=True)
class ListedProject:
    """A project as it is listed."""

    uuid: str
    name: str


@dataclass(frozen=True, slots=True)
class Standings:
    """The counts of all environments, and the ids of those that a page shows, in order.

    summary, judged (environments with a verdict), going (deployments in progress), critical (open critical hints) and
    deployed (those finished in 30 days, at most DEPLOYED_COUNTED) are of all; matching: number of environments that the
    selection lists. page, in_trouble, hinted: ids of environments; watched: of the first deployments in progress;
    watched_on_page: of all on the page. bare: projects without an environment that match, at most BARE_SHOWN + 1;
    offered: all, at most OFFERED + 1.
    """

    summary: HealthSummary
    bare: list[ListedProject]
    offered: list[ListedProject]
    judged: int
    going: int
    critical: int
    deployed: int
    matching: int
    page: list[int]
    in_trouble: list[int]
    hinted: list[int]
    watched: list[int]
    watched_on_page: list[int]
    projects: list[int]


# The health of an environment by its place in ORDER, as `health_of` decides it.
LAST_RANK = len(ORDER) - 1
RANK = """
CASE WHEN standing.verdict = 'rollback_recommended' THEN 0 WHEN going.number > 0 THEN 1
    WHEN standing.verdict = 'warning' OR standing.verdict = 'ok' AND standing.unhealthy THEN 2
    WHEN standing.verdict = 'ok' THEN 3 ELSE 4 END
"""
# In progress as `is_in_progress` decides it. Each half of the condition uses its partial index.
STANDINGS = f"""
WITH shown AS MATERIALIZED (%(projects)s),
open AS MATERIALIZED (
    SELECT deployment.id, deployment.environment_id, deployment.started_at
    FROM deployments AS deployment LEFT JOIN deployment_verdicts AS verdict ON verdict.deployment_id = deployment.id
    WHERE (deployment.state = 'running' OR deployment.state = 'finished')
        AND (verdict.id IS NULL OR deployment.state = 'finished' AND verdict.early AND verdict.final IS NULL)
), going AS (
    SELECT environment_id, count(*) AS number FROM open GROUP BY environment_id
), ranked AS MATERIALIZED (
    SELECT environment.id, environment.project_id, lower(shown.name) AS project, environment.name, {RANK} AS rank,
        standing.deployment_id, standing.critical_hints, going.number AS going,
        lower(shown.name || ' ' || environment.name) LIKE ALL (%%(patterns)s::text[]) AS found
    FROM shown JOIN projects_environment AS environment ON environment.project_id = shown.id
    LEFT JOIN environment_standings AS standing ON standing.environment_id = environment.id
    LEFT JOIN going ON going.environment_id = environment.id
    WHERE environment.deleting_at IS NULL
), matching AS (
    SELECT count(*) AS number FROM ranked WHERE found AND (%%(rank)s::int IS NULL OR rank = %%(rank)s)
), page AS MATERIALIZED (
    SELECT id, rank, project, name FROM ranked WHERE found AND (%%(rank)s::int IS NULL OR rank = %%(rank)s)
    ORDER BY rank, project, name, id
    LIMIT (SELECT CASE WHEN number <= {UNDIVIDED} THEN {UNDIVIDED} ELSE %%(limit)s END FROM matching)
    OFFSET (SELECT CASE WHEN number <= {UNDIVIDED} THEN 0 ELSE %%(offset)s END FROM matching)
)
SELECT (SELECT json_object_agg(rank, number) FROM (SELECT rank, count(*) AS number FROM ranked GROUP BY rank) AS sums),
    (SELECT json_agg(json_build_array(uuid, name)) FROM (
        SELECT uuid, name FROM shown
        WHERE NOT EXISTS (SELECT FROM ranked WHERE ranked.project_id = shown.id)
            AND lower(name) LIKE ALL (%%(patterns)s::text[]) AND (%%(rank)s::int IS NULL OR %%(rank)s = {LAST_RANK})
        ORDER BY lower(name), id LIMIT {BARE_SHOWN + 1}) AS projects),
    (SELECT json_agg(json_build_array(uuid, name)) FROM (
        SELECT uuid, name FROM shown ORDER BY lower(name), id LIMIT {OFFERED + 1}) AS projects),
    (SELECT count(deployment_id) FROM ranked), (SELECT coalesce(sum(going), 0)::int FROM ranked),
    (SELECT coalesce(sum(critical_hints), 0)::int FROM ranked),
    (SELECT count(*) FROM (SELECT FROM shown CROSS JOIN LATERAL (
        SELECT FROM deployments AS deployment
        WHERE deployment.project_id = shown.id AND deployment.finished_at > now() - interval '30 days'
        LIMIT {DEPLOYED_COUNTED}) AS deployed LIMIT {DEPLOYED_COUNTED}) AS counted),
    (SELECT number FROM matching),
    ARRAY(SELECT id FROM page ORDER BY rank, project, name, id),
    ARRAY(SELECT id FROM ranked WHERE rank = (SELECT min(rank) FROM ranked WHERE rank IN (0, 2))
        ORDER BY project, name, id LIMIT {NAMED}),
    ARRAY(SELECT id FROM ranked WHERE critical_hints > 0 ORDER BY rank, project, name, id LIMIT {HINTS_SHOWN}),
    ARRAY(SELECT open.id FROM open JOIN ranked ON ranked.id = open.environment_id
        ORDER BY rank, project, name, ranked.id, open.started_at DESC, open.id DESC LIMIT {WATCHES_SHOWN}),
    ARRAY(SELECT open.id FROM open JOIN page ON page.id = open.environment_id),
    ARRAY(SELECT id FROM shown)
"""  # noqa: S608  (put together from constants)


def standings_of(projects: QuerySet[Project], selection: Selection) -> Standings:
    """Read the standings of these projects' environments. One query, whose cost is that of a short row for each."""
    visible, values = projects.order_by().values("id", "uuid", "name").query.sql_with_params()
    names = [f"visible_{place}" for place in range(len(values))]
    sql = STANDINGS % {"projects": visible % tuple(f"%({name})s" for name in names)}
    wanted = {
        **dict(zip(names, values, strict=True)),
        "patterns": [f"%{escaped(word)}%" for word in selection.search.lower().split()],
        "rank": (ORDER.index(selection.health) if selection.health in ORDER else -1) if selection.health else None,
        "limit": (selection.page - selection.first + 1) * PAGE_SIZE,
        "offset": (selection.first - 1) * PAGE_SIZE,
    }
    with connection.cursor() as cursor:
        cursor.execute(sql, wanted)
        counts, bare, offered, *others = cursor.fetchone()
    return Standings(
        HealthSummary({health: (counts or {}).get(str(rank), 0) for rank, health in enumerate(ORDER)}),
        [ListedProject(*project) for project in bare or ()],
        [ListedProject(*project) for project in offered or ()],
        *others,
    )


def escaped(word: str) -> str:
    """Return the word for LIKE, without wildcards."""
    return word.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
