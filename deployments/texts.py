"""The sentences of calls that CI makes, and of collections that a deployment's end calls off."""

from explain.catalogue import gettext_noop as _
from explain.catalogue import register

REFUSALS = {
    "unknown_environment": _("This project has no environment '{name}'. It has: {known}."),
    "none_yet": _("none yet"),
    "project_archived": _(
        "The project '{name}' is archived, so no new deployment is measured. Take it out of the archive in its "
        "settings, or remove the calls to SeqPulse from this pipeline."
    ),
    "step_not_rising": _(
        "A step of {last:percent} came before, so {percent:percent} is no next step: the percentage has to rise."
    ),
    "step_after_finish": _("Deployment #{number} is finished: it takes no more steps, and gets its verdict."),
    "frozen": _(
        "Deployments to '{name}' are frozen: {reason}. To begin one all the same send force with a reason; a rollback "
        "(kind) passes."
    ),
    "frozen_until": _(
        "Deployments to '{name}' are frozen until {until}: {reason}. To begin one all the same send force with a "
        "reason; a rollback (kind) passes."
    ),
    "endpoint_conflict": _(
        "The environment '{name}' has the metrics endpoint '{configured}', but this call names '{given}'. Leave "
        "metrics_endpoint out, or change the environment's. A finish may name the endpoint of this deployment alone as "
        "green."
    ),
    "endpoint_not_taken": _(
        "The environment '{name}' has no metrics endpoint (configured: none, given: '{given}'), and the project takes "
        "none from calls. Set it in the environment."
    ),
}

ANSWERS = {
    "same_key": _("Deployment #{number} has this idempotency key already."),
    "control_of_another": _("The control group of this call is not taken: the deployment began without it."),
    "running_now": _(
        "Deployment #{number} of {environment} is still running. It is verified when it is finished; verify anything "
        "else after that."
    ),
    "still_running": _("Deployment #{number} of {environment} is still running; finish it first."),
    "endpoint_taken": _("The environment '{name}' has taken {url} as its metrics endpoint."),
    "sources_from_file": _("The sources of the environment are those of the file now: {kinds}."),
    "endpoint_missing": _(
        "This environment has no metrics endpoint yet, so nothing can be measured: send metrics_endpoint."
    ),
    "control_unsigned": _(
        "The control group at {url} is asked without signature and credentials: its origin is not one that the "
        "environment names."
    ),
    "control_not_askable": _(
        "The control group is not measured: what measures this environment ({kinds}) cannot be asked for it. Metrics "
        "endpoints take a URL, Prometheus takes a selector of labels."
    ),
    "green_measured": _("This deployment is measured at {url}."),
    "green_unsigned": _("It is asked without signature and credentials: its origin is not one the environment names."),
    "green_not_askable": _(
        "green is of no use here: what measures this environment ({kinds}) is not a metrics endpoint. It is measured "
        "as usual."
    ),
    "freeze_forced": _("It began in spite of the freeze “{reason}”; that is recorded."),
    "supersedes": _("Deployment #{number} was still running and is superseded by this one."),
    "rolls_back": _("It has the commit of #{number}, which was good: a rollback."),
    "pre_sample_without_job": _("This deployment has no job for the sample from before."),
    "pre_sample_pending": _("The sample from before was not in after {seconds:number} s. Is a poller running?"),
    "under_observation": _("Under observation; the verdict stands in about {seconds} s."),
    "settling": _("Measuring starts {seconds:number} s after finish."),
    "unknown_deployment": _("This project has no deployment with this id."),
    "unknown_key": _("No deployment of {environment} has this idempotency key."),
    "none_running": _("No deployment of {environment} is running."),
    "gate_no_deployment": _("{name} has no deployment yet: call trigger when one begins."),
    "gate_no_deployment_of": _("{name} has no deployment of {which} yet: call trigger when it begins."),
    "gate_too_old": _(
        "The last deployment of {name}, #{number}, has its verdict since {at}: more than {most} s (max_age) ago. The "
        "next one has not begun."
    ),
    "gate_not_frozen": _("Deployments to {name} are not frozen."),
    "gate_pending": _("Deployment #{number} of {name} has no verdict yet."),
    "gate_pass": _("Deployment #{number} of {name} has passed."),
    "gate_fail": _("Deployment #{number} of {name} should be rolled back."),
    "was_superseded": _("Deployment #{number} was superseded before it was finished; it gets no verdict."),
    "was_superseded_by": _("Deployment #{number} was superseded by #{by} before it was finished; it gets no verdict."),
    "was_abandoned": _("Deployment #{number} was abandoned: its finish never came. It gets no verdict."),
    "not_running": _("Deployment #{number} is not running any more."),
    "verdict_of_attempt": _(
        "This is the verdict of attempt 1, of {started} (deployment #{number}): attempt {attempt} brought the same "
        "idempotency key. A key that names the attempt too gives each its own deployment and verdict."
    ),
    "attempt_without_verdict": _(
        "This is attempt 1, of {started} (deployment #{number}): attempt {attempt} brought the same idempotency key. A "
        "key that names the attempt too gives each its own deployment and verdict."
    ),
}

# Of fields that are only shown to people.
SHOWN = {
    "shown.cut": _("{field} has more than {most} characters and was cut."),
    "shown.no_text": _("{field} is no text and was left out."),
    "shown.unreadable": _("{field} contains control characters and was left out."),
    "shown.no_link": _("{field} is no http or https link and was left out."),
    "shown.no_time": _("{field} is no time in ISO 8601 of the years {first} to {last} and was left out."),
}

COLLECTIONS = {
    "superseded": _("not collected: another deployment has superseded this one"),
    "step_overtaken": _("not collected: the step to {percent:percent} has begun"),
    "abandoned": _("not collected: no finish came within {hours:number} h"),
}

register({**REFUSALS, **ANSWERS, **SHOWN, **COLLECTIONS})
