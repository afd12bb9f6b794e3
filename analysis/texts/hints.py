"""Templates of hints: probable cause, effect on users, next steps."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from explain.catalogue import gettext_noop as _
from explain.facts import Fact, Param

ROLL_BACK_FIRST = _("Roll back to the previous version first; look for the reason afterwards.")


@dataclass(frozen=True)
class HintText:
    """Templates of a hint.

    last_resort: when to roll back; the last action, unless the verdict recommends a rollback, which then comes first.
    """

    title: str
    cause: str
    impact: str
    actions: tuple[str, ...]
    last_resort: str = ""

    def parts(self) -> Iterator[tuple[str, str]]:
        """Yield each template with its name."""
        yield from (("title", self.title), ("cause", self.cause), ("impact", self.impact))
        yield from ((f"action.{place}", action) for place, action in enumerate(self.actions))
        if self.last_resort:
            yield "last_resort", self.last_resort


@dataclass(frozen=True)
class HintFacts:
    """Facts of a hint."""

    title: Fact
    cause: Fact
    impact: Fact
    actions: tuple[Fact, ...]
    evidence: tuple[Fact, ...]


def facts_of(text_key: str, params: Mapping[str, Param], *, evidence: Sequence[Fact], roll_back: bool) -> HintFacts:
    """Return the facts of a hint. roll_back: the verdict recommends it. Raises KeyError for an unknown key."""
    facts = {name: Fact(f"hint.{text_key}.{name}", params) for name, _template in HINTS[text_key].parts()}
    actions = [fact for name, fact in facts.items() if name.startswith("action.")]
    if "last_resort" in facts:
        # A hint must not qualify the recommendation of the verdict.
        actions = [Fact("hint.roll_back_first"), *actions] if roll_back else [*actions, facts["last_resort"]]
    return HintFacts(facts["title"], facts["cause"], facts["impact"], tuple(actions), tuple(evidence))


OTHER_UNIT = HintText(
    title=_("The metrics look as if they came in another unit"),
    cause=_("{found:clauses}."),
    impact=_(
        "Values out of range are refused, and others are stored a hundred or a thousand times too small: the verdict, "
        "the charts and the limits of the policy do not mean what they say."
    ),
    actions=(
        _("Test the endpoint in the settings of the environment: the test names the unit and sets it with one click."),
        _("Or let the service answer in milliseconds and with ratios from 0 to 1."),
        _("Samples that are stored already keep their values; the next deployment is judged on the right ones."),
    ),
)

JOURNEY_BROKEN = HintText(
    title=_("{what}"),
    cause=_(
        "{found:clauses}. Typical where a page is delivered all the same: an error that is caught and answered as "
        "a page, a template or script that is missing, data that no longer comes, or a login that has no effect."
    ),
    impact=_("Users do not get what they come for. Nothing else may show it: no status, no error rate of servers."),
    actions=(
        _("Take the step by hand, as the journey does, and read what the page says instead."),
        _("Search the logs of the new version for the time of these requests: caught exceptions, failed queries."),
        _("Compare with the old version what the step needs: migrations, settings, files, feature flags."),
        _("If the page is meant to be so now, change what the journey expects."),
    ),
    last_resort=_("If it is not understood soon, roll back and see whether the journey succeeds again."),
)

HINTS = {
    "looks_like_other_unit.refused": OTHER_UNIT,
    "looks_like_other_unit.some": OTHER_UNIT,
    "service_unreachable": HintText(
        title=_("The service stopped answering: {missing} of {expected:n_collections} failed"),
        cause=_(
            "Before the deployment the metrics endpoint answered; since then {missing} of {expected:n_collections} "
            "brought nothing ({reasons:list}). Typical: the new version does not start or keeps restarting, listens on "
            "another port or path, or a certificate, route or firewall rule came with the deployment."
        ),
        impact=_("If SeqPulse cannot reach its metrics, users most likely cannot reach the service either."),
        actions=(
            _("Call the service from outside now: if its users get errors or nothing, roll back."),
            _(
                "Look at the state and the last log lines of the new instances: crash loops, failed readiness checks, "
                "exit codes, out-of-memory kills."
            ),
            _("Compare port, path, TLS and host names of the new version with the endpoint that SeqPulse asks."),
            _("If the service is well and only its metrics moved, set the environment's new endpoint."),
        ),
    ),
    "service_unreachable.answers": HintText(
        title=_("The endpoint answers without metrics: {missing} of {expected:n_collections} failed"),
        cause=_(
            "For {missing} of {expected:n_collections} something answered, but not with metrics ({reasons:list}). "
            "Typical: the new version serves them at another path or in another format, asks for a login there, or "
            "something else answers at this address."
        ),
        impact=_("What was not measured is not judged: whether users notice anything is not known."),
        actions=(
            _("Test the endpoint in the settings of the environment: the test shows what it answers."),
            _("Compare path, port and host name of the new version with the endpoint that SeqPulse asks."),
            _("Call the service from outside: if its users get the same answer, roll back."),
        ),
    ),
    "not_set_up": HintText(
        title=_("Not set up yet: the metrics endpoint has never answered with metrics"),
        cause=_("Nothing of this environment was ever measured, so no deployment is to blame for it."),
        impact=_("Deployments of this environment are not judged."),
        actions=(
            _("Test the endpoint in the settings of the environment: the test shows what it answers."),
            _("Compare address, port and path with what the service serves (curl -i from the poller's host)."),
            _("If it asks for credentials, compare the signing secret with the service's."),
        ),
    ),
    "alerts_fire": HintText(
        title=_("Alerts fire since the deployment: {alerts:and}"),
        cause=_("Your own alerting found what was well before. It may know more of the service than samples do."),
        impact=_("What the alert says: it may concern what is not measured here."),
        actions=(
            _("Open the alert, and look whether what it is about changed with the deployment."),
            _("If it fires with every deployment, let it wait longer, or list its severity as ignored in the source."),
        ),
        last_resort=_("If the alert is about users and lasts, roll back."),
    ),
    "too_good_to_be_true.answers": HintText(
        title=_("Too good to be true: p95 {observed:latency_p95}, before {baseline:latency_p95}"),
        cause=_(
            "As many requests arrive as before, and the service hardly works for them. Typical: every request is "
            "refused or redirected (401, 403, 404, a login page, a maintenance page), which counts as no error; a "
            "route or a host name that is gone; an empty database behind it."
        ),
        impact=_("Users may get quick answers without what they came for."),
        actions=(
            _("Call the most used pages and endpoints as a user does, and look at status, size and content."),
            _("Compare the counts of 2xx, 3xx and 4xx before and after, in the log of the service or load balancer."),
            _("Count 401, 403 and 404 as errors in the metrics if users should never see them."),
            _("If the gain is real, mark the verdict as wrong."),
        ),
        last_resort=_("If users get refusals or empty answers, roll back."),
    ),
    "too_good_to_be_true.work": HintText(
        title=_("Does it still work? CPU {observed:cpu_usage}, before {baseline:cpu_usage}"),
        cause=_(
            "The service counts no requests, and its CPU fell to next to nothing with the deployment. Typical: a "
            "consumer that does not connect to its queue, a scheduler that is switched off, a worker that waits for a "
            "lock or for credentials; or simply an empty queue."
        ),
        impact=_("Work may pile up where nobody sees it."),
        actions=(
            _("Compare the length of the queue and the jobs done per minute with before the deployment."),
            _("Read the log of the new version since its start: connections, subscriptions, refused credentials."),
            _("Report something that users feel as its metrics: jobs per second and their duration, not only CPU."),
        ),
        last_resort=_("If work piles up, roll back."),
    ),
    "looks_like_scaling": HintText(
        title=_("Looks like scaling: {observed:requests_per_sec} instead of {baseline:requests_per_sec} per process"),
        cause=_(
            "Traffic and CPU fell by the same factor (×{factor:.1f}), while p95 and errors stayed. If each answer of "
            "the metrics endpoint is of one instance or worker, this is what more of them look like (new replicas, "
            "more workers, the autoscaler)."
        ),
        impact=_("None, if the number of instances or workers grew; otherwise part of the traffic is missing."),
        actions=(
            _("Compare the number of instances and workers with before the deployment."),
            _("Let the metrics endpoint add up its processes, or ask the load balancer's metrics instead."),
            _("If their number is the same, look for the missing requests: routes, health checks, callers."),
        ),
    ),
    "service_degradation": HintText(
        title=_(
            "Service degraded: {error_rate_observed:error_rate} errors and p95 at {latency_p95_observed:latency_p95}"
        ),
        cause=_(
            "Requests got slower and failed in the same window, which points at something that every request waits "
            "for: a database, cache or remote API that the new version calls differently (new query, missing migration "
            "or index, smaller pool, shorter timeout), and whose timeouts then come out as errors."
        ),
        impact=_(
            "Users wait {latency_p95_observed:latency_p95} at p95 (before: {latency_p95_baseline:latency_p95}) and "
            "{error_rate_observed:error_rate} of their requests fail; retries of clients add load and make it worse."
        ),
        actions=(
            ROLL_BACK_FIRST,
            _(
                "Group the errors since the deployment by exception and by endpoint; timeouts and pool errors name the "
                "dependency."
            ),
            _(
                "Look at the database: long-running queries, lock waits and the number of connections "
                "(pg_stat_activity), compared with before the deployment."
            ),
            _(
                "Read the diff for new queries in loops, changed timeouts, pool sizes and migrations that were not "
                "applied."
            ),
            _(
                "After the rollback, check that both errors and p95 are back at {error_rate_baseline:error_rate} and "
                "{latency_p95_baseline:latency_p95}; if not, the dependency itself is ill."
            ),
        ),
    ),
    "partial_outage": HintText(
        title=_(
            "Partial outage: traffic down to {requests_per_sec_observed:requests_per_sec}, "
            "{error_rate_observed:error_rate} errors"
        ),
        cause=_(
            "Fewer requests arrive than before and of those that do {error_rate_observed:error_rate} fail: instances "
            "of the new version probably crash, do not start or fail their health checks, so that the load balancer "
            "turns requests away before they reach the application."
        ),
        impact=_(
            "Some users get no answer at all (traffic {requests_per_sec_observed:requests_per_sec}, before: "
            "{requests_per_sec_baseline:requests_per_sec}), others get errors. The error rate understates the outage: "
            "requests that never arrived are not counted."
        ),
        actions=(
            _("Roll back now; this is an outage for some users."),
            _(
                "Compare the number of ready instances with the number wanted (kubectl get pods, docker ps, systemctl "
                "status) and look for restarts since the deployment."
            ),
            _(
                "Read the last log lines of an instance that restarted: missing environment variable, failed "
                "migration, killed for memory (OOMKilled, exit code 137)."
            ),
            _(
                "Look at the load balancer's own 502/503/504 counts and health checks: they show the requests that the "
                "service did not see."
            ),
            _("After the rollback, check that traffic returns to about {requests_per_sec_baseline:requests_per_sec}."),
        ),
    ),
    "compute_saturation.no_before": HintText(
        title=_("CPU saturated: {cpu_usage_observed:cpu_usage} CPU, p95 at {latency_p95_observed:latency_p95}"),
        cause=_(
            "CPU usage and latency are both over their lines: requests wait for processor time, at "
            "{traffic_now:requests_per_sec} of traffic. What they were before the deployment is not known, so it may "
            "have been the same."
        ),
        impact=_(
            "Users wait {latency_p95_observed:latency_p95} at p95. There is no headroom left: the next peak of traffic "
            "turns slowness into timeouts and errors."
        ),
        actions=(
            _(
                "Check what the instances were given: CPU limits, number of instances and workers, throttling (kubectl "
                "top pods, container_cpu_cfs_throttled_periods_total)."
            ),
            _("Take a profile of one busy instance for 30 s (py-spy, perf, pprof, async-profiler)."),
        ),
        last_resort=_("Roll back if p95 does not fall once caches are warm, within some minutes."),
    ),
    "compute_saturation": HintText(
        title=_("CPU saturated: {cpu_usage_observed:cpu_usage} CPU, p95 at {latency_p95_observed:latency_p95}"),
        cause=_(
            "CPU usage and latency are both over their lines: requests wait for processor time. Either a request costs "
            "more than before (CPU {cpu_usage_baseline:cpu_usage} before at {traffic_before:requests_per_sec}, now "
            "{cpu_usage_observed:cpu_usage} at {traffic_now:requests_per_sec}), or the new version runs with less CPU "
            "or fewer instances."
        ),
        impact=_(
            "Users wait {latency_p95_observed:latency_p95} at p95 (before: {latency_p95_baseline:latency_p95}). There "
            "is no headroom left: the next peak of traffic turns slowness into timeouts and errors."
        ),
        actions=(
            _(
                "Compare traffic with before: about the same traffic and more CPU means that the code got more "
                "expensive."
            ),
            _(
                "Check what the instances were given: CPU limits, number of instances and workers, throttling (kubectl "
                "top pods, container_cpu_cfs_throttled_periods_total)."
            ),
            _(
                "Take a profile of one busy instance for 30 s (py-spy, perf, pprof, async-profiler) and compare its "
                "top frames with the diff."
            ),
            _("Add instances to win time if rolling back has to wait."),
        ),
        last_resort=_("Roll back if p95 does not fall once caches are warm, within some minutes."),
    ),
    "persistent_breach.error_rate": HintText(
        title=_("{observed:error_rate} of requests fail, in {samples_over}"),
        cause=_(
            "The error rate was over {threshold:error_rate} in {samples_over} (before: {baseline:error_rate}), so "
            "neither a restart nor a cold cache explains it: the new version fails for a constant part of the "
            "requests, typically one endpoint, one code path or one setting that is wrong on every instance."
        ),
        impact=_(
            "{observed:error_rate} of all requests fail (before: {baseline:error_rate}), and nothing suggests that it "
            "will pass by itself."
        ),
        actions=(
            _("Roll back now: it did not recover within {samples}, and waiting longer hurts more users."),
            _(
                "Group the errors since the deployment by exception, endpoint and status code; the top group is the "
                "defect."
            ),
            _(
                "Compare configuration and secrets of the new version with the old one's: a missing variable or an "
                "expired credential fails in just this way."
            ),
            _(
                "Check that the migrations of this version were applied, and that the old version still runs on the "
                "new schema before rolling back."
            ),
        ),
    ),
    "persistent_breach.requests_per_sec": HintText(
        title=_("Traffic stays at {observed:requests_per_sec} (before: {baseline:requests_per_sec})"),
        cause=_(
            "Traffic was below {threshold:requests_per_sec} in {samples_over} although the service answers without "
            "errors: requests no longer reach it. Typical: instances that fail their readiness check, a route, host "
            "name or path that changed with the deployment, a certificate, or callers that were switched off."
        ),
        impact=_(
            "About {change:whole_percent} of the traffic is missing; these users get their errors elsewhere, unseen by "
            "the service."
        ),
        actions=(
            _("Call the public address from outside, through DNS, TLS and the load balancer, not the instance itself."),
            _(
                "Check that all instances are registered and healthy at the load balancer or ingress, and that its "
                "routes match the paths and ports of the new version."
            ),
            _("Look at 404, 502, 503 and TLS errors in the load balancer's log since the deployment."),
            _(
                "Ask whether a caller, campaign, cron or batch ended at this time: compare with the same hour "
                "yesterday and a week ago."
            ),
            _("Roll back if no such reason is found within minutes."),
        ),
    ),
    "persistent_breach.latency_p95": HintText(
        title=_("p95 latency stays at {observed:latency_p95} (before: {baseline:latency_p95})"),
        cause=_(
            "p95 latency was over {threshold:latency_p95} in {samples_over}, so it is neither warm-up nor a blip: "
            "requests wait for something that the old version did not wait for. Typical: a new or unindexed query, a "
            "remote call added to each request, a pool or a number of workers that became too small."
        ),
        impact=_(
            "One request in twenty takes longer than {observed:latency_p95}: users leave, callers time out and try "
            "again."
        ),
        actions=(
            _("Roll back now: it did not recover within {samples}, and waiting longer hurts more users."),
            _("Compare p95 per endpoint before and after: one slow endpoint is code, all of them a shared dependency."),
            _("Look at the database's slowest statements since the deployment, and EXPLAIN the ones that are new."),
            _("Look for requests that wait on a connection pool, a lock or a remote service (traces, pool metrics)."),
        ),
    ),
    "persistent_breach.other": HintText(
        title=_("Critical metrics over their lines in {samples_over}: {metrics:list}"),
        cause=_(
            "What this environment's policy calls critical ({metrics:list}) stayed over its line in {samples_over}, "
            "from the first samples on. A warm-up or a blip looks different: it passes."
        ),
        impact=_(
            "The service runs outside the limits its team has set for it ({observed:{metric}}, line "
            "{threshold:{metric}}) all the time."
        ),
        actions=(
            _("Roll back, unless the change was meant to cost this much."),
            _(
                "Compare the level with before the deployment ({baseline:{metric}}): a step at the deployment is the "
                "new version, a level that was there before is not."
            ),
            _(
                "If this level is normal for the service, raise the limit in the environment's policy, so that it "
                "alarms for a reason."
            ),
        ),
    ),
    "high_error_rate": HintText(
        title=_("Error rate over {threshold:error_rate} in {samples_over}"),
        cause=_(
            "Requests are failing: {observed:error_rate} on average, {worst:error_rate} in the worst sample, "
            "{baseline:error_rate} before. Errors in only some samples point at one bad instance, a rolling restart "
            "that dropped connections, or a code path that few requests take; errors in all of them point at a defect "
            "or a wrong setting on every instance."
        ),
        impact=_(
            "Up to {worst:error_rate} of the requests failed at a time; those users saw error pages or had to retry."
        ),
        actions=(
            _(
                "Group the errors since the deployment by instance, endpoint and exception; what stands out tells "
                "which of the causes it is."
            ),
            _("Compare the times of the errors with those of restarts and of the rollout's steps."),
            _("If it is one instance, take it out of the load balancer and replace it."),
            _("If the restart dropped requests, make the old instances drain: readiness off, wait, then SIGTERM."),
        ),
        last_resort=_("If errors go on, roll back."),
    ),
    "traffic_below_baseline": HintText(
        title=_("Traffic below {threshold:requests_per_sec} in {samples_over}"),
        cause=_(
            "Traffic fell to {observed:requests_per_sec} on average, {worst:requests_per_sec} in the lowest sample, "
            "{baseline:requests_per_sec} before. A dip in some samples points at instances that came up one after the "
            "other or that the load balancer removed for a while; a lasting loss points at routes, host names or "
            "health checks that changed, or at callers that stopped."
        ),
        impact=_(
            "Requests did not reach the service; those users were turned away or waited, unseen by its error rate."
        ),
        actions=(
            _("Compare the times of the low samples with the steps of the rollout and with restarts."),
            _("Look at the load balancer's health checks and its 502/503 answers at these times."),
            _("Compare with the same hour yesterday: traffic that always dips now is no fault of the deployment."),
        ),
        last_resort=_(
            "If it keeps dropping, roll back and see whether traffic returns to {baseline:requests_per_sec}."
        ),
    ),
    "high_latency": HintText(
        title=_("p95 latency over {threshold:latency_p95} in {samples_over}"),
        cause=_(
            "The slowest requests take {observed:latency_p95} on average (worst sample {worst:latency_p95}, before "
            "{baseline:latency_p95}), without errors and without a busy CPU: they wait for something outside the "
            "process. Typical: a new or unindexed query, a remote call added to the request, a smaller connection "
            "pool, a cold cache."
        ),
        impact=_(
            "At least one request in twenty takes longer than {observed:latency_p95}; pages and API clients feel slow."
        ),
        actions=(
            _("Compare p95 per endpoint before and after: one slow endpoint is code, all of them a shared dependency."),
            _(
                "Look at the database's slowest statements since the deployment (pg_stat_statements, slow query log) "
                "and EXPLAIN the ones that are new."
            ),
            _("Look for requests waiting on a connection pool, a lock or a remote service (traces, pool metrics)."),
            _(
                "If the first samples were slow and the last ones are not, it was warm-up: compare with the chart "
                "before acting."
            ),
        ),
        last_resort=_("If it stays, roll back or switch the new feature off."),
    ),
    "memory_growth.leak": HintText(
        title=_("Memory keeps growing: {observed:memory_usage}, full in about {time_left:duration}"),
        cause=_(
            "Memory usage went from {baseline:memory_usage} before the deployment to {observed:memory_usage} and rises "
            "from sample to sample, beyond what a restart explains. Typical: a cache or queue without a bound, "
            "connections or buffers that are never released, listeners added per request."
        ),
        impact=_(
            "In about {time_left:duration} the process is killed for lack of memory; requests in flight are lost, each "
            "time."
        ),
        actions=(
            _("Take a heap profile of one instance now, before it restarts: what grows is the leak."),
            _("Look at what this version added that lives as long as the process: caches, pools, queues, listeners."),
            _("Compare with the old version under the same traffic: if that is flat, roll back."),
            _("To win time, restart the instances one by one, well before {time_left:duration} are over."),
        ),
    ),
    "memory_growth.step": HintText(
        title=_("Memory rose from {baseline:memory_usage} to {observed:memory_usage}"),
        cause=_(
            "Memory usage was at {baseline:memory_usage} before the deployment and is at {observed:memory_usage} "
            "since, without rising further: the new version holds more from the start. Typical: a bigger cache, more "
            "workers, data or models loaded at start."
        ),
        impact=_("There is less room for peaks: what fitted before may now be killed for lack of memory."),
        actions=(
            _("Compare the number of workers, cache sizes and data loaded at start with the old version's."),
            _("Check the highest peak of the last days against the room that is left."),
            _("If it was intended, raise the instances' memory; if not, roll back before the next peak."),
        ),
    ),
    "memory_above_limit": HintText(
        title=_("Memory above its limit of {threshold:memory_usage}: {observed:memory_usage}"),
        cause=_(
            "Memory usage is at {observed:memory_usage} (worst {worst:memory_usage}, before {baseline:memory_usage}). "
            "A level that jumped with the deployment is something the new version holds from the start (bigger cache, "
            "more workers, data loaded into memory); one that climbs from sample to sample is a leak."
        ),
        impact=_(
            "The kernel or the orchestrator may kill the process at any moment: requests in flight are lost, and "
            "instances restart in turn."
        ),
        actions=(
            _(
                "Look at the chart: a step means a bigger footprint, a steady climb means a leak, and the slope tells "
                "how long it lasts."
            ),
            _("Look for kills that happened already: OOMKilled in kubectl describe pod, exit code 137, dmesg."),
            _("Compare the number of workers, cache sizes and memory limits of the new version with the old one's."),
            _("If it climbs, roll back, or restart instances one by one to win time; take a heap profile first."),
            _("If it is a step that was intended, raise the instance's memory and the limit in the policy."),
        ),
    ),
    "cpu_spike": HintText(
        title=_("CPU over {threshold:cpu_usage} in {samples_over}"),
        cause=_(
            "CPU usage is at {observed:cpu_usage} (worst {worst:cpu_usage}, before {baseline:cpu_usage}) at "
            "{traffic_now:requests_per_sec} of traffic (before: {traffic_before:requests_per_sec}). Latency has not "
            "followed. Typical: work done at start (caches, compilation), a background task or busy loop of the new "
            "version, debug or verbose logging left on, or simply more traffic."
        ),
        impact=_("Users do not feel it yet, but the headroom for the next peak of traffic is gone."),
        actions=(
            _(
                "Compare traffic before and after: if it grew by as much as the CPU did, it is load and not the "
                "deployment."
            ),
            _("Look at the last samples: falling CPU is start-up work and passes."),
            _("See which process and thread uses it (top -H, kubectl top pods), and profile that one for 30 s."),
            _("Check the log level and debug flags of the new version."),
            _("If it stays near the limit, add capacity before the next peak or roll back."),
        ),
    ),
    "memory_near_limit": HintText(
        title=_("Memory close to its limit: {observed:memory_usage} of {threshold:memory_usage}"),
        # xgettext:no-python-format
        # xgettext:no-python-format
        cause=_(
            "Memory usage is at {observed:memory_usage} (worst {worst:memory_usage}, before {baseline:memory_usage}), "
            "between 90 and 100 % of the limit. Either the new version needs a little more and stays there, or it "
            "climbs and has not yet arrived."
        ),
        impact=_(
            "Nothing is broken yet; a peak of traffic or a slow leak takes it over the limit, and processes get killed."
        ),
        actions=(
            _("Look at the chart over the next half hour: flat is a footprint, climbing is a leak."),
            _(
                "Compare with the level before the deployment ({baseline:memory_usage}): no difference means that it "
                "was this close before."
            ),
            _("Check worker counts and cache sizes that this version changed."),
            _("Plan more memory or fewer workers per instance before the next peak."),
        ),
    ),
    "missing_data.no_post": HintText(
        title=_("No sample since the deployment"),
        cause=_(
            "None of the {expected} planned collections after the deployment returned a sample. Reasons: "
            "{reasons:list}. Either the service or its metrics endpoint has not answered since the deployment, or no "
            "poller ran."
        ),
        impact=_("Nothing is known about the service since the deployment; it may be down."),
        actions=(
            _("Check now, by hand, whether the service answers its users."),
            _("Call the metrics endpoint from the poller's host (curl -i) and read its status and body."),
            _(
                "Check that the new version still serves the endpoint under the same path and with the same signing "
                "secret."
            ),
            _("Check that a poller runs: its heartbeat is on the health page (/health)."),
        ),
    ),
    "missing_data.no_pre": HintText(
        title=_("No sample from before the deployment"),
        cause=_(
            "There is nothing to compare with: no sample was taken before the deployment. Reasons: {reasons:list}. "
            "Typical: a first deployment, a pipeline that deploys immediately after calling trigger, or an endpoint "
            "that did not answer at that time."
        ),
        impact=_(
            "The level after the deployment ({collected} of {expected:n_samples}) cannot be compared with the "
            "service's usual level."
        ),
        actions=(
            _("Compare the service with its usual level by hand, on your own dashboards."),
            _("Call trigger before the deployment begins, some seconds at least, so that a sample can be taken."),
            _("If there are reasons above, mend the endpoint: the next deployment will have the same gap."),
        ),
    ),
    "missing_data.partial": HintText(
        title=_("{collected} of {expected:n_samples} after the deployment"),
        cause=_(
            "Some collections brought nothing. Reasons: {reasons:list}. An endpoint that fails now and then may mean "
            "instances that restart or are too busy to answer; expired collections mean that no poller ran in time."
        ),
        impact=_("The verdict rests on fewer samples than planned; a fault between them would not be seen."),
        actions=(
            _("Compare the times of the missing samples with restarts and errors of the service."),
            _("Call the metrics endpoint ten times (curl -w '%{{time_total}}') and see whether it is slow or fails."),
            _("If collections expired, check the pollers' heartbeats and start another one."),
        ),
    ),
    "poor_data": HintText(
        title=_("The data are doubtful: quality {quality:.2f} of 1"),
        cause=_(
            "The times of the samples do not fit the deployment: {issues:clauses}. Typical: clocks that differ between "
            "hosts, a poller that was stopped or overloaded, an analysis that ran long after the window."
        ),
        impact=_("The comparison of before and after may compare the wrong things; the verdict is less sure for it."),
        actions=(
            _("Compare the clocks of the pollers' hosts and of the database (timedatectl, SELECT now())."),
            _(
                "Check that pollers were running all the time: heartbeats on the health page (/health), restarts in "
                "their logs."
            ),
            _("Compare the chart of this deployment with your own dashboards before acting on the verdict."),
        ),
    ),
    "latency_improved": HintText(
        title=_("p95 latency improved by {change:whole_percent}"),
        cause=_(
            "p95 latency is {observed:latency_p95}, before it was {baseline:latency_p95}, with no more errors and no "
            "less traffic than allowed: the change makes requests cheaper, or a cache or an added instance takes work "
            "off them."
        ),
        impact=_("Users get their answers sooner."),
        actions=(
            _("Note the gain with the change that brought it."),
            _("Make sure that it is not less work than wanted: compare response sizes and the share of empty answers."),
            _("If the environment's latency limit is meant to follow, lower it in the policy."),
        ),
    ),
    "unhealthy_before": HintText(
        title=_("Unhealthy already before: {metric:metric} at {before:{metric}}, now {observed:{metric}}"),
        cause=_(
            "The service was in trouble before this deployment, and the deployment did not change that: "
            "{found:clauses}. Typical: an earlier deployment, a dependency that fails, or too little capacity."
        ),
        impact=_(
            "Users suffer as they did before. The verdict is about the change only: it does not say that the service "
            "is well."
        ),
        actions=(
            _("Treat it as an incident of the service: rolling back this deployment would not help."),
            _("Look for the last deployment before which {metric:metric} was below {limit:{metric}}."),
            _("Group the failures by endpoint and by dependency, beginning with the most frequent one."),
            _("If this level is meant, set the metric's own limit in the policy of the environment."),
        ),
    ),
    "unhealthy_before.predecessor": HintText(
        title=_("Unhealthy since the deployment before (#{number}): {metric:metric} now {observed:{metric}}"),
        cause=_(
            "The deployment before this one was judged bad while it was under observation, and the service is still in "
            "trouble: {found:clauses}. Whether this deployment adds to that cannot be told."
        ),
        impact=_("Users suffer as they did under the deployment before."),
        actions=(
            _("Read the verdict and the hints of #{number}: they name what it broke."),
            _("If that one is to be rolled back, go back to the version before it: this one contains its change."),
            _("Deploy this version again once the service is healthy: it is then compared with a healthy level."),
        ),
    ),
    "instances_changed.fewer": HintText(
        title=_("{before} → {now} instances: fewer than before the deployment"),
        cause=_(
            "{now} instances answer at the end of the window, {before} did before the deployment; traffic is counted "
            "over all of them. They were scaled down, or some of them did not start, do not get ready or keep crashing."
        ),
        impact=_("Each instance carries more of the traffic, and there is less room for the next peak or failure."),
        actions=(
            _("Compare with the number of instances that the deployment should run."),
            _("If some are missing, look at their events and restarts: start-up, health checks, memory, quotas."),
            _("If fewer are meant, watch p95 and CPU at the next peak."),
        ),
    ),
    "instances_changed.more": HintText(
        title=_("{before} → {now} instances: more than before the deployment"),
        cause=_(
            "{now} instances answer at the end of the window, {before} did before the deployment; traffic is counted "
            "over all of them."
        ),
        impact=_("Less CPU and a lower p95 may be owed to the number of instances, and not to the change."),
        actions=(
            _("Make sure that the number is meant: an autoscaler, or old instances that were not stopped."),
            _("Compare CPU per instance before calling the new version cheaper."),
            _("If old instances are still running, remove them: they answer with the old version."),
        ),
    ),
    "journey_broken.critical": JOURNEY_BROKEN,
    "journey_broken.some": JOURNEY_BROKEN,
    "other_release": HintText(
        title=_("{what}"),
        cause=_(
            "{n} of {asks} answers at the end of the window do not name the release of this deployment: the rollout is "
            "not over or has failed, instances of the old version are left, or a cache answers."
        ),
        impact=_("What was measured is not, or not only, the new version: the verdict may be about the old one."),
        actions=(
            _("Look at the state of the rollout: which version do the instances run?"),
            _("Ask the step by hand, past caches and CDNs, and compare the version that it names."),
            _("Make sure that trigger names the version as the service does."),
            _("Deploy again, or wait for the rollout before finish is called."),
        ),
    ),
    "custom_metric.rose": HintText(
        title=_("{name} rose from {before} to {after}"),
        cause=_(
            "{name} is at {after} since the deployment, before it was {before}; {samples_over} are beyond what the "
            "policy allows. A rise is bad by the policy: the new version does more of it, or something that it depends "
            "on does not keep up."
        ),
        impact=_("What {name} measures is worse than before, by {change:whole_percent}."),
        actions=(
            _("Look at {name} on your own dashboards: when did it begin to rise, and on which instances?"),
            _("Read the change for what produces or consumes {name}: queries, jobs, retries, batch sizes."),
            _("If this level is meant, widen the margins of {name} in the policy of the environment."),
        ),
        last_resort=_("If it does not come down, roll back and see whether it returns to {before}."),
    ),
    "custom_metric.fell": HintText(
        title=_("{name} fell from {before} to {after}"),
        cause=_(
            "{name} is at {after} since the deployment, before it was {before}; {samples_over} are beyond what the "
            "policy allows. A fall is bad by the policy: the new version does less of it, or what leads to it no "
            "longer works although nothing fails."
        ),
        impact=_("What {name} measures is worse than before, by {change:whole_percent}."),
        actions=(
            _("Go through by hand, with the new version, what {name} counts or measures."),
            _("Compare with the same hour yesterday: what always falls now is no fault of the deployment."),
            _("Read the change for what {name} depends on: forms, consents, feature flags, queues, credentials."),
            _("If this level is meant, widen the margins of {name} in the policy of the environment."),
        ),
        last_resort=_("If it stays down, roll back and see whether it returns to {before}."),
    ),
    "critical_finding": HintText(
        title=_("The judge recommends a rollback"),
        cause=_("{finding:clauses}"),
        impact=_("The service no longer does what it did before the deployment, by the limits of its policy."),
        actions=(
            _("Roll back to the previous version."),
            _("Compare the samples before and after on the deployment's page with your own dashboards."),
            _("Read the logs of the new version since the deployment, errors and restarts first."),
        ),
    ),
}

TEXTS = {
    "hint.roll_back_first": ROLL_BACK_FIRST,
    "instances_went": _("{before} → {now} instances"),
    "no_reason_on_record": _("no reason on record"),
    "none_recorded": _("none recorded"),
    "unknown_share": _("an unknown share"),
    "latency_level": _("p95 latency {observed:latency_p95} in {samples}, {baseline:latency_p95} before"),
    **{f"hint.{key}.{name}": template for key, text in HINTS.items() for name, template in text.parts()},
}
