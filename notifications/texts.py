"""Templates of facts about deliveries and channels."""

from explain.catalogue import Plural, register
from explain.catalogue import gettext_noop as _

DELIVERIES: dict[str, str | Plural] = {
    "delivery.refused": _("the receiver answered {status}"),
    "delivery.gone": _("the receiver answered 410: it is gone for good"),
    "delivery.busy": _("the receiver answered {status}"),
    "delivery.channel_disabled": _("the channel is disabled"),
    "delivery.too_late": _("nobody took it in time"),
    "delivery.unreadable": _("what is configured for the channel cannot be read: enter it again"),
    "delivery.unknown_kind": _("this version of SeqPulse has no channels of this kind"),
    "delivery.no_recipient": _("none of the addresses may be sent mail yet: their owners have to agree first"),
    "delivery.no_mail_server": _("no mail server is set: the operator sets SEQPULSE_EMAIL_URL"),
    "delivery.no_answer": _("the mail server did not answer ({error})"),
    "delivery.raised": _("it could not be sent: {error}"),
}

# Why a deployment is not rolled back, or its rollback failed (rollbacks/).
ROLLBACKS: dict[str, str | Plural] = {
    "rollback.off": _("rollbacks are off in this environment"),
    "rollback.deleted": _("the environment or its project is deleted or archived"),
    "rollback.kind": _("rollbacks and verifications are not rolled back"),
    "rollback.closed": _("the deployment was superseded or abandoned"),
    "rollback.not_recommended": _("its verdict does not recommend a rollback"),
    "rollback.inconclusive": _("its verdict is not conclusive"),
    "rollback.shadow": _("its verdict was made in shadow mode"),
    "rollback.marked_wrong": _("its verdict was marked wrong"),
    "rollback.replaced": _("it is not the latest deployment of its environment any more"),
    "rollback.unreadable": _("the webhook’s address or secret cannot be read: enter them again"),
    "rollback.no_receiver": _("the webhook has no address or secret: enter them"),
    "rollback.needs_url": _("Enter the address of the webhook first."),
    "rollback.refused": _("the receiver answered {status}"),
    "rollback.unclear": _("the receiver answered {status}, which does not say whether it rolls back"),
    "rollback.raised": _("it could not be sent: {error}"),
    "rollback.not_started": _("its job ended before anything was sent"),
    "rollback.too_late": _("it could not be sent within {minutes:number} min of the approval"),
    "rollback.missing": _("no rollback was deployed within {minutes} min"),
    "rollback.not_judged": _("the rollback #{number} was superseded or abandoned"),
    "rollback.pipeline_failed": _("the pipeline of the rollback #{number} failed"),
    "rollback.verdict_not_ok": _("the verdict of the rollback #{number} is not a conclusive ok"),
}

# The first line of a message: where, and what a person needs to know (headlines.py).
PLACES: dict[str, str | Plural] = {
    "event.line": _("{where}: {what}"),
    "place.deployment": _("{project} {environment} #{number}"),
    "place.environment": _("{project} {environment}"),
    "place.change": _("{place} ({about:list})"),
    "place.title": _("“{title}”"),
    "place.word": _("{text}"),
}

VERDICTS: dict[str, str | Plural] = {
    "says.error_rate": _("{observed:percent} of requests fail."),
    "says.error_rate_was": _("{observed:percent} of requests fail, was {baseline:percent}."),
    "says.latency_p95": _("p95 is {observed:ms}."),
    "says.latency_p95_was": _("p95 is {observed:ms}, was {baseline:ms}."),
    "says.requests_per_sec": _("traffic is {observed:requests_per_sec}."),
    "says.requests_per_sec_was": _(
        "traffic is {observed:requests_per_sec}, {baseline:requests_per_sec} were expected."
    ),
    "says.cpu_usage": _("cpu is at {observed:percent}."),
    "says.cpu_usage_was": _("cpu is at {observed:percent}, was {baseline:percent}."),
    "says.memory_usage": _("memory is at {observed:percent}."),
    "says.memory_usage_was": _("memory is at {observed:percent}, was {baseline:percent}."),
    "says.unreachable": _("the metrics endpoint stopped answering after the deployment."),
    "says.too_good": _("too good to be true: the service may do nothing any more."),
    "says.warning": _("warning: {what}"),
    "says.check": _("{check}."),
    "says.summary": _("{summary}"),
    "says.nothing": _("there is a verdict."),
    "says.inconclusive": _("no clear verdict: {doubts:clauses}."),
    "says.ok": _("ok, no regression found."),
    "says.ok_uncompared": _("ok, but there was nothing to compare with: no sample from before."),
    "says.ok_but_unhealthy": _("no regression found, but the service is not healthy."),
    "says_rollback.ok": _("the rollback worked: ok, no regression found."),
    "says_rollback.ok_uncompared": _("the rollback is ok, but there was nothing to compare with."),
    "says_rollback.ok_but_unhealthy": _("the rollback did not help: the service is not healthy."),
    "says.failed_but_ok": _("the pipeline failed; what runs now shows no regression."),
    "says.failed_and_unhealthy": _("the pipeline failed, and the service is not healthy."),
    "says.cancelled_but_ok": _("the pipeline was cancelled; what runs now shows no regression."),
    "says.cancelled_and_unhealthy": _("the pipeline was cancelled, and the service is not healthy."),
    "says.pipeline_failed": _("The pipeline failed."),
    "says.pipeline_cancelled": _("The pipeline was cancelled."),
    "says.is_rollback": _("This is a rollback."),
    "says.not_conclusive": _("It is not certain: look at the service."),
    "says.inconclusive_short": _("no clear verdict: look at the service."),
    "says.replaced": _("Replaced by #{number} since."),
    "says.no_last_good": _("There is no good deployment to return to."),
    "says.unchanged": _("the window is over, and the verdict is still {verdict:verdict_name}."),
    "says.changed": _("the window is over: {verdict:verdict_name}, no longer {early:verdict_name}. Now: {what}"),
    "says.revised": _("the verdict was revised: {what}"),
    "says.revised_from": _("the verdict was revised, no longer {was:verdict_name}: {what}"),
    "says.marked_wrong": _("{who} marked the verdict wrong: {about:verdict_name}."),
    "says.marked_deserved": _(
        "{who} marked the verdict wrong: {about:verdict_name}. Right would have been: {deserved:verdict_name}."
    ),
    "says.marked_right": _("{who} marked the verdict right after all: {about:verdict_name}."),
    "says.last_good": _("Last good: #{number}."),
    "says.shadow": _("Shadow mode: no pipeline was stopped."),
    "says.and": _("{what} {more}"),
    "says.recovered": _("recovered."),
    "says.recovered_since": _("recovered, {after:duration} after the first bad verdict (#{number})."),
    "says_rollback.recovered": _("recovered: the rollback worked."),
    "says_rollback.recovered_since": _(
        "recovered: the rollback worked, {after:duration} after the first bad verdict (#{number})."
    ),
    "verdict_name.ok": _("ok"),
    "verdict_name.warning": _("a warning"),
    "verdict_name.rollback_recommended": _("roll back"),
}

HAPPENED: dict[str, str | Plural] = {
    "says.silent": _("the metrics endpoint stopped answering: {times:n_times} in a row ({reason:reason})."),
    "says.silent_short": _("the metrics endpoint stopped answering."),
    "says.answers": _("the metrics endpoint answers again."),
    "says.answers_after": _("the metrics endpoint answers again, after {after:duration}."),
    "event.signature_refused": _(
        "the metrics endpoint refuses our signature, so nothing is measured: compare the secrets."
    ),
    "event.deployment_abandoned": _(
        "no finish came within {hours:number} h after trigger, so there will be no verdict."
    ),
    "event.deployment_abandoned.short": _("no finish came after trigger, so there will be no verdict."),
    "event.rollback_asked": _("a rollback waits for approval."),
    "event.rollback_fired": _("the rollback was started."),
    "event.rollback_failed": _("the rollback failed: {why}."),
    "event.rollback_failed.short": _("the rollback failed."),
    "event.rollback_unknown": _("nobody knows whether the rollback was started ({why}): look at it now."),
    "event.rollback_unknown.short": _("nobody knows whether the rollback was started: look at it now."),
    "says.rolls_back": _("a rollback began; to which deployment is not known."),
    "says.rolls_back_to": _("rolls back to #{number}."),
    "says.somebody": _("somebody"),
    "says.on_it": _("{who} is on it."),
    "says.on_it_because": _("{who} is on it: {reason}"),
    "says.rolled_back": _("{who} rolled it back."),
    "says.rolled_back_because": _("{who} rolled it back: {reason}"),
    "says.ignored": _("{who} ignores the verdict."),
    "says.ignored_because": _("{who} ignores the verdict: {reason}"),
    "says.acknowledged": _("{who} has seen it."),
    "says.acknowledged_because": _("{who} has seen it: {reason}"),
    "says.key_made": _("{who} made the API key “{name}” ({prefix}…)."),
    "says.key_made_short": _("{who} made an API key."),
    "says.invited": _("{who} invited {email} as {role:role}."),
    "says.invited_short": _("{who} invited somebody."),
    "role.viewer": _("viewer"),
    "role.member": _("member"),
    "role.admin": _("admin"),
    "role.owner": _("owner"),
    "event.channel_disabled": _("the channel {channel} is disabled: {why}"),
    "event.channel_disabled.short": _("a channel is disabled."),
    "event.freeze_forced": _("began in spite of the freeze “{frozen}”: {reason}"),
    "event.freeze_forced.short": _("began in spite of a freeze."),
    "event.weekly_report": _("the week: {deployed:count} deployed, {failed:count} of {judged:n_changes} failed."),
    "event.weekly_report.short": _("the report of the week."),
    "event.test": _("a test message from SeqPulse: this channel works."),
}

# What became of a deployment since its message (standing.py).
STANDING: dict[str, str | Plural] = {
    "standing.approved": _("{who} approved the rollback."),
    "standing.automatic": _("The environment rolls back by itself."),
    "standing.worked": _("The rollback #{number} worked."),
    "standing.not_ok": _("The rollback #{number} did not work."),
    "standing.missing": _("No rollback was deployed in time."),
    "standing.marked_wrong": _("The verdict is marked wrong."),
    "standing.replaced": _("Something newer was deployed since."),
}

# The lines after the first one (details.py).
DETAILS: dict[str, str | Plural] = {
    "detail.verdict": _("Verdict: {verdict:verdict_name}, {confidence:whole_percent} sure."),
    "detail.verdict_on": _("Verdict: {verdict:verdict_name}, {confidence:whole_percent} sure, on {samples:n_samples}."),
    "detail.verdict_inconclusive": _("Verdict: {verdict:verdict_name}, not conclusive."),
    "detail.early": _("Early verdict: the window is not over yet."),
    "detail.sentence": _("{sentence}."),
    "detail.doubts": _("Not conclusive: {doubts:clauses}."),
    "detail.healthy_yes": _("The service was healthy at the end of the window."),
    "detail.healthy_no": _("The service was not healthy at the end of the window."),
    "detail.unhealthy_because": _("The service was not healthy at the end of the window: {reasons:clauses}."),
    "detail.hint": _("Hint: {title}"),
    "detail.step": _("Next: {step}"),
    "detail.branch": _("Branch: {value}"),
    "detail.version": _("Version: {value}"),
    "detail.url": _("Pipeline: {value}"),
}

# The lines of the weekly report (weekly.py).
WEEKLY: dict[str, str | Plural] = {
    "weekly.deployed": _("Deployed: {deployed:count}, rollbacks: {rollbacks:count}."),
    "weekly.failed": _("Change failure rate: {rate:percent}."),
    "weekly.restore": _("Time to restore: {restore:duration} (median)."),
    "weekly.lead": _("Lead time: {lead:duration} (median)."),
    "weekly.wrong": _("Verdicts marked wrong: {wrong:count}."),
    "weekly.project": _("{project}: {figures:clauses}."),
    "weekly.project_link": _("{project}: {figures:clauses}. {link}"),
    "weekly.more_projects": Plural("n", "And {n} further project.", "And {n} further projects."),
    "weekly.of_deployed": _("{deployed:count} deployed"),
    "weekly.of_rollbacks": _("rollbacks: {rollbacks:count}"),
    "weekly.of_failed": _("{failed:count} of {judged:n_changes} failed"),
    "weekly.of_restore": _("restored after {restore:duration} (median)"),
    "weekly.of_lead": _("lead time {lead:duration} (median)"),
    "weekly.of_wrong": _("verdicts marked wrong: {wrong:count}"),
    "weekly.of_noisy": _("noisy: {environment} ({count:n_events})"),
    "weekly.noisy": _("Noisy: {place}, {count:n_events} that were worth a warning."),
}

register({**DELIVERIES, **PLACES, **VERDICTS, **HAPPENED, **DETAILS, **ROLLBACKS, **STANDING, **WEEKLY})
