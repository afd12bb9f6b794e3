"""Templates of checks, data quality, summaries and left-out samples."""

from explain.catalogue import Plural
from explain.catalogue import gettext_noop as _

CHECKS: dict[str, str | Plural] = {
    "latency_rose": _("p95 rose from {baseline:ms} to {observed:ms} (×{ratio:.1f}) in {samples_over}; {line}"),
    "latency_beyond_load": _(
        "p95 is {observed:ms} (before: {baseline:ms}), ×{beyond_load:.2f} of what the traffic explains; {line}"
    ),
    "latency_rose_a_little": _("p95 went from {baseline:ms} to {observed:ms} (×{ratio:.2f}); {line}"),
    "latency_stayed": _("p95 stayed at {observed:ms} (before: {baseline:ms}); {line}"),
    "latency_fell": _("p95 improved from {baseline:ms} to {observed:ms} (×{ratio:.2f}); {line}"),
    "errors_rose": _(
        "errors rose from {before:percent} to {observed:percent} ({failed:count} of about {requests:n_requests} "
        "failed) in {samples_over}; {line}"
    ),
    "errors_level": _(
        "{observed:percent} of requests failed ({failed:count} of about {requests:n_requests}), before: "
        "{before:percent}; {line}"
    ),
    "errors_without_before": _(
        "{observed:percent} of requests failed ({failed:count} of about {requests:n_requests}); before the "
        "deployment there was no request to compare with; {line}"
    ),
    "error_rate_rose": _(
        "the error rate rose from {before:percent} to {observed:percent} in {samples_over} (requests are not counted, "
        "so all samples weigh the same); {line}"
    ),
    "error_rate_level": _(
        "the error rate is {observed:percent}, before: {before:percent} (requests are not counted, so all samples "
        "weigh the same); {line}"
    ),
    "cpu_rose": _("cpu rose {levels}: {beyond:points} more than load explains, in {samples_over}; {line}"),
    "cpu_beyond_load": _("cpu went {levels}: {beyond:points} more than load explains; {line}"),
    "cpu_went": _("cpu went {levels}; {line}"),
    "cpu_levels": _("from {before:percent} to {after:percent}"),
    "at_load": _("{levels} at ×{ratio:.2f} of the load"),
    "traffic_fell": _(
        "traffic fell from {baseline:number} to {observed:number} requests/s ({lost:percent} lost) in {samples_over}; "
        "{line}"
    ),
    "traffic_below_expected": _(
        "traffic is at {observed:number} requests/s in {samples_over}, where {baseline:number} were expected from its "
        "course and from earlier days ({lost:percent} lost; before: {before:number}); {line}"
    ),
    "traffic_level": _("traffic: {observed:number} requests/s, expected {baseline:number}; {line}"),
    "traffic_like_scaling": _(
        "{finding}; cpu went with it (×{cpu_left:.2f}) while p95 and errors stayed: this looks like scaling (more "
        "processes, and each answer is of one)"
    ),
    "too_good": _(
        "too good to be true: as many requests, but p95 went from {baseline:ms} to {observed:ms} and cpu from "
        "{cpu_before:percent} to {cpu_after:percent} in {samples_over}"
    ),
    "stopped_working": _(
        "no requests are counted, and cpu went from {baseline:percent} to {observed:percent} in {samples_over}: the "
        "service may have stopped working"
    ),
    "journeys_failed": _("{n} of {asks} journeys failed, before {n_before} of {asks_before}"),
    "journeys_level": _("{n} of {asks} journeys failed, before {n_before} of {asks_before}"),
    "journeys_without_before": _("{n} of {asks} journeys failed; none was asked before the deployment"),
    "expectation_broken": _("{what} since the deployment: {n} of {asks}, before {n_before} of {asks_before}"),
    "expectation_as_before": _(
        "{what}: {n} of {asks}, before the deployment {n_before} of {asks_before}, so that is not its effect"
    ),
    "expectation_seldom": _("{what}: {n} of {asks}, before {n_before} of {asks_before}, which may be chance"),
    "expectation_without_before": _("{what}: {n} of {asks}; whether it was so before the deployment is not known"),
    "expectation_release": _("{what}: {n} of {asks} at the end of the window"),
    "alerts_began": _("alerts fire since the deployment: {alerts:and}"),
    "alerts_ended": _("alerts fired after the deployment, and ended: {alerts:and}"),
    "alerts_before": _("alerts fired before the deployment already, and do: {alerts:and}"),
    "alerts_gone": _("alerts that fired before the deployment have ended: {alerts:and}"),
    "alert_named": _("{name} ({severity})"),
    "custom_rose": _("{name} rose from {before} to {after} in {samples_over}; {line}"),
    "custom_fell": _("{name} fell from {before} to {after} in {samples_over}; {line}"),
    "custom_level": _("{name}: {after}, before {before}; {line}"),
    "custom_without_before": _("{metric:metric}: not compared, there is no sample from before the deployment"),
    "custom_name": _("{name}"),
    "custom_amount": _("{value:number} {unit}"),
    "custom_number": _("{value:number}"),
    "custom_share": _("{value:percent}"),
    "custom_warning": _("the warning threshold is {limit}"),
    "custom_rollback": _("the rollback threshold is {limit}"),  # of verdicts before both were named
    "custom_warning_only": _("that reaches the warning threshold ({limit}); this metric never leads to a rollback"),
    "custom_warning_reached": _("that reaches the warning threshold ({limit}); the rollback threshold is {rollback}"),
    "custom_rollback_reached": _("that reaches the rollback threshold ({limit})"),
    "passed.small": _("levels below {least} are too small to count"),
    "memory_keeps_rising": _(
        "memory rose from {baseline:percent} to {observed:percent} and keeps rising: full in about "
        "{minutes_left:n_minutes}; {line}"
    ),
    "memory_rose": _("memory rose from {baseline:percent} to {observed:percent}; {line}"),
    "memory_went": _("memory went from {baseline:percent} to {observed:percent}; {line}"),
    "two_regressions": _("two user-facing regressions at once ({both:and}): together they are a reason to roll back"),
    "regression.error_rate": _("errors"),
    "regression.latency_p95": _("latency"),
    "regression.requests_per_sec": _("lost traffic"),
    "passed_because": _("{line}; passed, because {why}"),
    "passed.load": _("the traffic explains the difference"),
    "passed.over_again": _("it was over before the end of the window"),
    "passed.scatter": _("the service scatters by as much"),
    "passed.single_samples": _("it rests on single samples"),
    "not_measured_before": _("{metric:metric}: not compared, constantly 0 before the deployment, so not measured then"),
    "not_measured_after": _("{metric:metric}: not compared, constantly 0 after the deployment, so no longer measured"),
    "not_measured_before_and_after": _("{metric:metric}: not compared, constantly 0, so not measured"),
    "not_known": _("{metric:metric}: not judged, not measured by the source"),
    "known_only_before": _("{metric:metric}: not comparable, measured only before the deployment"),
    "known_only_after": _("{metric:metric}: not comparable, measured only after the deployment"),
    "traffic_is_shared": _(
        "{metric:metric}: not compared, the rollout decides how much of it each of the two groups gets"
    ),
    "no_usable_sample": _("{metric:metric}: not compared, no usable sample after the deployment"),
    "too_little_to_compare": _("{metric:metric}: not compared, too little data before or after the deployment"),
    "above_hard_limit": _(
        "{metric:metric} was above your limit of {limit:{metric}} in {samples_over} (level {observed:{metric}}; "
        "tolerated: {tolerance:whole_percent} of samples)"
    ),
    "below_hard_limit": _(
        "{metric:metric} was below your limit of {limit:{metric}} in {samples_over} (level {observed:{metric}}; "
        "tolerated: {tolerance:whole_percent} of samples)"
    ),
    "within_hard_limit": _("{metric:metric} stayed within your limit of {limit:{metric}} (level {observed:{metric}})"),
    "absolute_limit": _(
        "{metric:metric} is at {observed:{metric}}; there are no samples from before the deployment, so the absolute "
        "limit of {limit:{metric}} applies"
    ),
    # Thresholds
    "rollback_threshold_reached": _("that reaches the rollback threshold ({line})"),
    "rollback_threshold": _("the rollback threshold is {line}"),  # of verdicts before both were named
    "warning_threshold_reached": _("that reaches the warning threshold ({line}); the rollback threshold is {rollback}"),
    "warning_threshold": _("the warning threshold is {line}"),
    "cpu_threshold": _("the warning threshold is {line}; cpu alone never leads to a rollback"),
    "ratio_and_ms": _("×{ratio:number} and +{ms:ms}"),
    "points_and_ratio": _("+{points:points} and ×{ratio:number}"),
    "points_more": _("+{points:points}"),
    "share_lost": _("{share:percent} lost"),
    "memory_nearly_full": _("{full:percent} reached or {minutes:n_minutes} from full"),
    "memory_growth": _("+{leak:points} and full within {hours:number} h, or a step of +{step:points}"),
    # Missing samples
    "service_failed_collections": _(
        "the service answered before the deployment, but then failed {missing} of {expected:n_collections} "
        "({reasons:list}); failures in a row at the end of the window: {streak}"
    ),
    "collections_failed": _(
        "{missing} of {expected:n_collections} failed on the service's side ({reasons:list}); before the deployment: "
        "{before}"
    ),
    "no_metrics_answered": _(
        "for {missing} of {expected:n_collections} the endpoint answered with something other than metrics "
        "({reasons:list})"
    ),
    "never_answered": _("the metrics endpoint has never answered with metrics ({reasons:list})"),
    "never_answered_but": _("the metrics endpoint has never answered with metrics; the last time: {answer}"),
    "no_sample_came": Plural(
        "n",
        "none of {expected:n_samples} came after the deployment, while {n} came before it",
        "none of {expected:n_samples} came after the deployment, while {n} came before it",
    ),
    "last_samples_missing": _("the last {missing} of {expected:n_samples} never came, and nothing says why"),
}

FIXED_POLICY = {
    "above_secured_limit": _(
        "{metric:metric} above {limit:{metric}} ({secured_factor:whole_percent} of the limit "
        "{configured_limit:{metric}}) in {samples_over}; tolerated: {tolerance:whole_percent} of samples; mean "
        "{observed:{metric}}"
    ),
    "above_secured_limit_before_known": _(
        "{metric:metric} above {limit:{metric}} ({secured_factor:whole_percent} of the limit "
        "{configured_limit:{metric}}) in {samples_over}; tolerated: {tolerance:whole_percent} of samples; mean "
        "{observed:{metric}}, before {baseline:{metric}}"
    ),
    "traffic_below_mean": _(
        "traffic below {limit:{metric}} ({drop:whole_percent} less than the {baseline:{metric}} before) in "
        "{samples_over}; tolerated: {tolerance:whole_percent} of samples; mean {observed:{metric}}"
    ),
    "not_judged": _("{metric:metric} not judged: {reason}"),
    "no_samples_after": _("no samples after the deployment"),
    "shared_by_rollout": _("the rollout decides how much of it each of the two groups gets"),
    "not_measured_by_source": _("not measured by the source"),
    "measured_only_before": _("not comparable, measured only before the deployment"),
    "measured_only_after": _("not comparable, measured only after the deployment"),
    "too_little_traffic": _("{level:requests_per_sec} before the deployment is too little to compare with"),
    "was_above": _("{metric:metric} was above {limit:{metric}} in {samples_over} (mean {observed:{metric}})"),
    "traffic_was_below": _(
        "traffic was below {limit:{metric}} in {samples_over} (mean {observed:{metric}}, before {baseline:{metric}})"
    ),
    "fixed.roll_back": _("Roll back: after the deployment, {found:and}."),
    "fixed.roll_back_in_doubt": _(
        "Roll back: after the deployment, {found:and}. The data quality is poor ({doubt:clauses}), so check the "
        "service before you act."
    ),
    "fixed.look_closer": _("Look closer: after the deployment, {found:and}; no critical metric failed."),
    "fixed.look_now": _(
        "Look now: {found:and}, but it is not certain that the deployment is the cause ({doubt:clauses})."
    ),
    "fixed.keep": _("Keep it: no metric broke its limit in {samples} after the deployment."),
    "fixed.not_conclusive": _("Not conclusive: {doubt:clauses}. Check the service yourself."),
    "fixed.not_conclusive_but_within": _(
        "Not conclusive: {doubt:clauses}. No metric broke its limit in {samples}, but check the service yourself."
    ),
    "low_quality": _("the data quality is too low"),
}

SUMMARIES: dict[str, str | Plural] = {
    "roll_back": _("Roll back: {reasons:clauses}."),
    "roll_back_now": _("Roll back now: {reason}."),
    "look_at_this": _("Look at this: {reasons:clauses}."),
    "nothing_compared": _("Not conclusive: no metric could be compared ({few})."),
    "not_set_up_yet": _("Not set up yet: {why}."),
    "too_few": _("Not conclusive: {few}, too few to clear the deployment."),
    "too_few_and_suspicious": _("Not conclusive: {few}, too few to clear the deployment, and some of them look bad."),
    "samples_came": Plural("n", "{n} of {expected:n_samples} came", "{n} of {expected:n_samples} came"),
    "in_doubt": _("Not conclusive: {doubts:clauses}. Nothing else was found."),
    "found_in_doubt": _("{summary} Not conclusive: {doubts:clauses}."),
    "not_looked_at": _("{summary} Not measured before and after, so not looked at: {metrics:and}."),
    "but_not_healthy": _("{summary} The service is not healthy, though: {reasons:clauses}."),
    "beside_control": _("{summary} That is without what the control group did at the same time."),
    "no_regression": _("No regression found in {n:n_samples}, {against}."),
    "compared_with": Plural("n", "compared with {n} sample from before", "compared with {n} samples from before"),
    "compared_with_earlier": Plural(
        "n",
        "compared with {n} sample of earlier good deployments",
        "compared with {n} samples of earlier good deployments",
    ),
    "compared_with_scatter": Plural(
        "n",
        "compared with {n} sample from before (scatter: {history:n_samples} of earlier good deployments)",
        "compared with {n} samples from before (scatter: {history:n_samples} of earlier good deployments)",
    ),
    "compared_with_control_course": Plural(
        "n",
        "compared with {n} sample from before, without what the control group did at the same time",
        "compared with {n} samples from before, without what the control group did at the same time",
    ),
    "compared_with_control_instead": Plural(
        "n",
        "compared with {n} sample of the control group at the same time",
        "compared with {n} samples of the control group at the same time",
    ),
    "compared_with_nothing": _(
        "judged by absolute limits and by changes within the window, because there are no samples from before to "
        "compare with"
    ),
    "unjudged": _("This deployment could not be judged: {why}. Look at the service yourself."),
    "analysis_ended": _("its analysis ended as {status:job_status}"),
    "analysis_without_verdict": _("its analysis ended as {status:job_status}, without a verdict"),
    "job_status.failed": _("failed"),
    "job_status.expired": _("expired"),
    "job_status.cancelled": _("cancelled"),
}

STATEMENTS: dict[str, str | Plural] = {
    # Doubts
    "not_exercised": _(
        "too few requests came after the deployment to say that anybody used the new version (about {requests:count})"
    ),
    "bad_predecessor": _(
        "the deployment before this one (#{number}) was under observation and bad, so the level before is no measure"
    ),
    "nothing_comparable": _("no metric could be compared"),
    "nothing_user_facing": _(
        "nothing that users notice was measured before and after ({missing:list}); add a source that measures one of "
        "them, or mark a custom metric of the policy as critical"
    ),
    "not_set_up": _("the metrics endpoint has never answered with metrics"),
    # Health at the end of the window
    "unhealthy": _("{metric:metric} is at {observed:{metric}}, beyond {limit:{metric}}"),
    "unhealthy_as_before": _(
        "{metric:metric} is at {observed:{metric}}, beyond {limit:{metric}}, and the service was failing already "
        "before ({before:{metric}})"
    ),
    "no_answer_at_end": _("the service did not answer the last {n:n_collections} ({reasons:list})"),
}

QUALITY: dict[str, str | Plural] = {
    "quality.no_post": _("no sample after the deployment, {expected} planned"),
    "quality.no_pre": _("no sample from before the deployment to compare with"),
    "because": _("{what}: {reasons:list}"),
    "quality.few_post_samples": _("only {samples} after the deployment, at least {needed} needed"),
    "quality.incomplete_window": _("{count} of {expected:n_samples} planned after the deployment"),
    "quality.gap": Plural(
        "n",
        "{n} gap between samples after the deployment, the longest {longest:duration} (planned: every "
        "{interval:duration})",
        "{n} gaps between samples after the deployment, the longest {longest:duration} (planned: every "
        "{interval:duration})",
    ),
    "quality.post_before_pre": Plural(
        "n",
        "{n} of {count:n_samples} after the deployment are older than the newest one from before it",
        "{n} of {count:n_samples} after the deployment are older than the newest one from before it",
    ),
    "quality.future_samples": _("{samples} from the future, up to {time:duration} ahead of the analysis"),
    "quality.stale_samples": _("{found:clauses}"),
    "late_analysis": _("the last sample was {age:duration} old when it was analyzed"),
    "old_baseline": _("the newest sample from before is {age:duration} older than the deployment"),
    "quality.looks_like_seconds": _(
        "p95 is {observed:.3g} ms in {samples} while cpu is at {cpu:percent}: this looks like seconds"
    ),
    "quality.control_unused": _(
        "judged without the control group, which gave {before:n_samples} before and {after:n_samples} after: too few "
        "to compare with"
    ),
    "quality.control_failed": _(
        "judged without the control group, which gave {before:n_samples} before and {after:n_samples} after: {problem}"
    ),
    "quality.control_gaps": _(
        "the control group gave {before:n_samples} before and {after:n_samples} after, and not all it could: {problem}"
    ),
    "quality.control_not_compared": _(
        "the limits are fixed: only custom metrics were compared with the control group, and traffic was not judged"
    ),
    "quality.expired_jobs": _(
        "{collections} expired: no poller ran in time ({before} before, {after} after the deployment)"
    ),
    "quality.failed_collections": _(
        "{collections} brought no sample ({before} before, {after} after the deployment): {reasons:list}"
    ),
}

COUNTS = {
    "samples": Plural("n", "{n} sample", "{n} samples"),
    "collections": Plural("n", "{n} collection", "{n} collections"),
    # Some languages inflect by the first number instead of the second.
    "one_sample_over": Plural("n", "{n} of {count} sample", "{n} of {count} sample"),
    "samples_over": Plural("n", "{n} of {count} samples", "{n} of {count} samples"),
}

LEFT_OUT = {
    "left_out.deployment": _("deployment #{number} did not end ok"),
    "left_out.by_hand": _("excluded by hand"),
    "left_out.by_hand_because": _("excluded by hand: {reason}"),
    "left_out.rolled_back": _("taken since #{number}, which replaced the last good deployment"),
    "left_out.after_finish": _("taken after finish: it may show the new version"),
    "left_out.late": _("taken {seconds:.0f} s after trigger, by a late try: it may show the new version"),
}

TEXTS: dict[str, str | Plural] = {
    **CHECKS,
    **FIXED_POLICY,
    **SUMMARIES,
    **STATEMENTS,
    **QUALITY,
    **COUNTS,
    **LEFT_OUT,
}
