"""Templates of facts about failed collections."""

from explain.catalogue import gettext_noop as _
from explain.catalogue import register
from explain.languages import Language

# By the code of the job. Failures of the request are in outbound/texts.py.
COLLECTIONS = {
    "http_4xx": _("HTTP {status} from {url}"),
    "http_5xx": _("HTTP {status} from {url}"),
    "redirect": _("HTTP {status} from {url}: redirects are not followed. Configure the address it leads to"),
    "unauthorized": _(
        "HTTP {status} from {url}: it refuses our signature. Compare the HMAC secret on both sides, and the clocks"
    ),
    "unauthorized_unsigned": _(
        "HTTP {status} from {url}: it asks for credentials. Turn signing on for this environment, or let it answer "
        "unsigned"
    ),
    "blocked_by_ops": _("the operators of SeqPulse have blocked requests to {url}: ask them why"),
    "this_environment": _("this environment"),
    "no_endpoint": _("this environment has no metrics endpoint: set one, or send metrics_endpoint with trigger"),
    "unreadable_secret": _("no configured key opens the secret of this environment"),
    "unknown_source": _("this SeqPulse has no kind of source named {kind}: remove the source, or update SeqPulse"),
    "unusable_source": _("the settings of the source {kind} do not fit this version: save them again"),
    "nothing_to_ask": _("alerts are sent to SeqPulse: there is nothing to ask"),
    "nothing_measured": _("the source answered, and not one of the metrics was in it"),
    "source_failed": _("{problem}"),
    "source_trouble": _("{problem}"),
    "control_not_selected": _(
        "the expressions of {names} have no labels in braces, so they cannot be narrowed to the control group"
    ),
    "source_notes": _("{notes:clauses}"),
    "source_without_history": _("there is less to compare with, because it gave no past samples: {problem}"),
    "source_unauthorized": _(
        "HTTP {status} from {url}: it does not accept the credentials of this source. Check its token, its password, "
        "and the header that names the tenant"
    ),
    "source_not_found": _(
        "HTTP {status} from {url}: there is no query API. Give the address in front of /api/v1: of Mimir it ends in "
        "/prometheus, of a VictoriaMetrics cluster in /select/0/prometheus, of Grafana in /api/datasources/proxy/uid/ID"
    ),
    "source_no_api": _("{url} does not answer as the query API of a Prometheus does: {problem}"),
    "source_no_form": _("it does not answer as the query API of a Prometheus does"),
    "source_clock": _(
        "its clock differs from ours by {seconds} s. That is allowed for; setting the clock (NTP) is better"
    ),
    "source_refuses": _("HTTP {status} from {url}: “{text}”"),
    "previous_secret_only": _("it accepts only the HMAC secret from before the rotation"),
    "instances_silent": _("{n} of {total} instances did not answer: {instance}: {problem}"),
    "instance_late": _("no answer within {seconds:number} s"),
    "unread_exposition": _("the answer of {url} is no metrics as Prometheus reads them: {problem}"),
    "exposition_broken": _("the line of {name} cannot be read: “{text}”"),
    "exposition_of_others": _(
        "{instance}: several processes answer there, each with counters of its own. Let them share their counters, or "
        "name each as a target"
    ),
    "exposition_twice": _("series of {names} come twice: the first one counts"),
    "exposition_cut": _("it is cut off: OpenMetrics ends with # EOF"),
    "exposition_is.empty": _("it is empty"),
    "exposition_is.html": _("this is an HTML page. Check the path, which is usually /metrics"),
    "exposition_is.html_login": _(
        "this is an HTML page, probably a login page. Let the path answer without a login, or give this source the "
        "credentials"
    ),
    "exposition_is.other": _("not one line of it is a metric"),
    "answer_is.protobuf": _("this is protobuf although text was asked for"),
    "no_known_family": _(
        "of the {n} families of {url} ({names}) none is known to have requests, durations, cpu or memory: say in the "
        "settings of the source how metrics are computed from them"
    ),
    "answer_is.other": _("the answer has another form"),
    "no_deployment": _("this job has no deployment"),
    "invalid_json": _("{problem} (from {url})"),
    "invalid_payload": _("{problem} (from {url})"),
    "failed_and_answered": _("{failure}; it answered “{text}”"),
    "refused_before": _("not collected: an earlier request was refused with 401 or 403, so the HMAC secret is wrong"),
    "archived": _("not collected: the project is archived"),
    "deleted": _("not collected: the project is deleted"),
    "collecting": _("a sample of this window is still being collected"),
    "predecessor_unjudged": _("the deployment in whose window this one began is judged first"),
}

# Of the settings of a source, by the type of the error.
CONFIG = {
    "config.invalid": _("This value is not possible here."),
    "config.missing": _("This is needed."),
    "config.extra_forbidden": _("This kind of source has no such setting."),
    "config.string_type": _("This has to be a text."),
    "config.dict_type": _("This has to be an object of names and values."),
    "config.model_type": _("This has to be an object of names and values."),
    "config.list_type": _("This has to be a list."),
    "config.bool_type": _("This has to be true or false."),
    "config.float_type": _("This has to be a number."),
    "config.float_parsing": _("This has to be a number."),
    "config.finite_number": _("This has to be a finite number."),
    "config.int_type": _("This has to be a whole number."),
    "config.int_parsing": _("This has to be a whole number."),
    "config.int_from_float": _("This has to be a whole number."),
    "config.greater_than": _("This has to be more than {gt}."),
    "config.greater_than_equal": _("This has to be at least {ge}."),
    "config.less_than": _("This has to be less than {lt}."),
    "config.less_than_equal": _("This has to be at most {le}."),
    "config.string_too_long": _("At most {max_length} characters are possible."),
    "config.string_too_short": _("This is needed."),
    "config.too_long": _("At most {max_length} are possible."),
    "config.too_short": _("At least {min_length} is needed."),
    "config.literal_error": _("One of these is needed: {expected}."),
    "config.string_pattern_mismatch": _("This is not in the form {pattern}."),
    "config.secret_again": _("The address is another one: enter this again, so that it is not sent there by mistake."),
    "config.secret_in_file": _(
        "A secret has no place in a file: set it on the page of the source, and leave it out here. It is kept as long "
        "as the address stays the same."
    ),
    "config.kind_and_settings": _("Each source is a table with its kind and its settings."),
    "config.sources_list": _("This has to be a list of sources, in TOML [[sources]]."),
    "config.signed_elsewhere": _(
        "Requests to the endpoint are signed, and a call may only name addresses that a person configured: enter this "
        "one on the page of the environment first."
    ),
    "config.url_query": _("Leave out what begins with ?: the address of the server is needed, such as {example}."),
    "config.url_and_targets": _("Give either url or targets: url for one address, targets for those of all instances."),
    "config.url_or_targets": _("This is needed: the address to ask, or in targets those of all instances."),
    "config.resolve_needs_url": _("This needs a url, whose host is looked up."),
    "config.credentials_need_url": _(
        "Headers and passwords are sent only to an address that is given here: calls may name another endpoint."
    ),
    "config.path_or_value": _("Either the path of a number, such as $.stats.p95, or a constant value is needed."),
    "config.over_or_value": _("Give either over or over_value."),
    "config.unit_needs_over": _("{name} is a share: an amount needs over or over_value, which it is a share of."),
    "config.unit_of": _("The unit of {name} has to be one of these: {units}."),
    "config.many_stars": _("At most {most} stars are possible."),
    "config.metric_name": _(
        "{name} is none of the five metrics, and no name for one of your own: at most 63 small letters, digits and "
        "underscores that begin with a letter."
    ),
    "config.ratio_of_all": _("This is needed, or labels that select a part of the family: else every ratio is 1."),
    "config.over_of_no_ratio": _("Only a ratio has this."),
    "config.most_sources": _("An environment has at most {most} sources."),
}

# Of the settings of a journey, and of the text that names a place in JSON.
JOURNEYS = {
    "check.unsafe": _(
        "{method} may change data of the service that people use, several times with each sample. Set unsafe to true "
        "for this journey if that does no harm"
    ),
    "check.status": _("{value} is no status: write 200, 2xx or 200-204"),
    "check.text": _("This has to be one line of text."),
    "check.absent_value": _("What is not to be there has no value: leave out one of the two."),
    "check.two_places": _("Name either the place in JSON or the header."),
    "check.release": _("This has to contain {known}, and no other name in braces."),
    "check.capture": _("Name one place: json, header, cookie, or the texts after and before."),
    "check.body": _("{method} has no body."),
    "check.head": _("An answer to HEAD has no body: use GET to look at its text or its JSON."),
    "check.unknown_name": _(
        "No earlier step captures {{{name}}}. Add it under capture of an earlier step, or write it with two braces on "
        "each side if it is meant as it is"
    ),
    "check.no_base": _("This path needs base_url, or write the whole address."),
    "check.url": _("{problem}"),
    "check.origin": _("A captured value cannot be part of the host: write the host as it is."),
    "json_path.begin": _("{path} is no path: it begins with $, such as $.items[0].name"),
    "json_path.part": _(
        "{path} cannot be read from “{rest}” on. Only names and numbers are possible, such as $.items[0].name: no "
        "filters, no *, no .."
    ),
    "json_path.long": _("At most {most} parts are possible."),
    # What a journey met.
    "journey.step": _("{step}: {problem}"),
    "journey.not_as_expected": _("{failed}"),
    "journey.not_as_expected_answered": _("{failed}; the page begins with “{text}”"),
    "journey.no_time": _("there was no time left to ask"),
    "journey.not_captured": _("not asked, because {name} was not found in an earlier answer"),
    "journey.header": _("not asked, because a captured value cannot be sent in a header"),
    "journey.too_many_redirects": _("it redirects more than five times"),
    "journey.redirect_elsewhere": _("it redirects to a host that this journey does not name, which is not followed"),
    # What was expected of a step and not so; status: of its answer.
    "expected.answer": _("{step} is not answered"),
    "expected.status": _("{step} answers {status} instead of {codes}"),
    "expected.latency": _("{step} answers {status}, but after more than {most:ms}"),
    "expected.text": _("{step} answers {status}, but “{text}” is missing"),
    "expected.absent": _("{step} answers {status}, but with “{text}”"),
    "expected.json_present": _("{step} answers {status}, but {path} is missing"),
    "expected.json_absent": _("{step} answers {status}, but with {path}"),
    "expected.json_value": _("{step} answers {status}, but {path} is not {text}"),
    "expected.header_present": _("{step} answers {status}, but without the header {name}"),
    "expected.header_absent": _("{step} answers {status}, but with the header {name}"),
    "expected.header_value": _("{step} answers {status}, but the header {name} is not {text}"),
    "expected.capture": _("{step} answers {status}, but {name}, which later steps need, is not found"),
    "expected.version": _("{step} answers {status}, but not from the new version"),
}

# Of one expression of a Prometheus.
EXPRESSIONS = {
    "expression.refused": _("{name}: the server refuses the expression: “{text}”"),
    "expression.series": _(
        "{name}: the expression gives {n} series, for example {example}. Wrap it in sum() or max(), or select fewer"
    ),
    "expression.too_many": _(
        "{name}: the expression gives more series than {bytes:size} hold. Wrap it in sum() or max(), or select fewer"
    ),
    "expression.nothing": _("{name}: the expression gives nothing: check the names of the metric and of its labels"),
    "expression.no_number": _("{name}: the expression gives no number now, as a quantile does without requests"),
    "nothing_known_there": _(
        "the server has no metrics that a template knows: write expressions for what your service calls its metrics"
    ),
    "expression.type": _(
        "{name}: the expression gives {type}, and not a number. Wrap what ends in [5m] in rate() or avg_over_time()"
    ),
    "expression.type.matrix": _("ranges of samples"),
    "expression.type.string": _("a text"),
    "expression.not_allowed": _(
        "{name} is {number:exact}, allowed {allowed:allowed}: convert it in the expression, for example by / 100"
    ),
    "expression.failed": _("{name}: {problem}"),
}

PUSHED = {
    "nothing_pushed": _("nothing was pushed in the {seconds} s before: push at least once in that time"),
    "pushed_not_read": _("the pushed samples could not be read within {seconds} s"),
    "pushed_no_list": _("This has to be a list of samples."),
    "pushed_count": _("These are {n:n_samples}; a call takes 1 to {most}."),
    "pushed_no_object": _("A sample is an object of metrics by name."),
    "pushed_unknown_field": _("Unknown. There are: {known}."),
    "pushed_instance": _("This has to be a text of at most {most} printable characters."),
    "pushed_at": _(
        "{value} is no time: send ISO 8601 with an offset, such as 2026-11-30T14:05:00Z, or seconds since 1970"
    ),
    "pushed_empty": _("A sample has at least one metric, in custom or beside it."),
    "pushed_late": _("This is more than 10 minutes ago: samples are taken for 10 minutes after their time."),
    "pushed_early": _(
        "This is more than 60 s in the future: compare the clocks, and send seconds since 1970, not milliseconds."
    ),
    "pushed_measured_otherwise": _(
        "The environment {name} is measured otherwise ({kinds}). Add the source push to it, then samples are taken"
    ),
    "pushed_not_adopted": _(
        "The environment {name} takes no samples: its project adopts nothing that calls bring. Add the source "
        "push to it"
    ),
    "pushed_adopted": _("From now on {name} is measured by what is pushed."),
}

PAYLOAD = {
    "not_json": _("the answer is not valid JSON: {problem}"),
    "answer_is.empty": _("it is empty"),
    "answer_is.prometheus": _(
        "this is Prometheus text. Add this address as a source of the kind openmetrics, or serve the five metrics as "
        "JSON on a path of their own, with the code on the integration page"
    ),
    "answer_is.openmetrics": _(
        "this is OpenMetrics text, as Prometheus reads it. Add this address as a source of the kind openmetrics, or "
        "serve the five metrics as JSON on a path of their own, with the code on the integration page"
    ),
    "answer_is.html": _("this is an HTML page. Check the path: a metrics endpoint answers with JSON"),
    "answer_is.html_login": _(
        "this is an HTML page, probably a login page. Let the path answer without a login; signed requests protect it"
    ),
    "field_missing": _("{name}: the answer has nothing at {path}"),
    "field_no_number": _("{name}: {path} is {value}, it has to be a number"),
    "no_metrics": _('the answer has no object "metrics" with the five metrics'),
    "custom_no_object": _("custom is {value}, it has to be an object of numbers by name"),
    "custom_too_many": _("custom has {n} metrics, at most {most} are read"),
    "custom_misnamed": _(
        "custom: {name} is no name for a metric; at most 63 small letters, digits and underscores that begin with a "
        "letter, and none of the five metrics"
    ),
    "custom_no_number": _("custom: {name} is {value}, it has to be a finite number"),
    "instances_no_number": _("instances is {value}, it has to be a whole number from 1 to {most}"),
    "metric_missing": _("{name} is missing, it has to be a number, {allowed:allowed}"),
    "latency_missing": _(
        "{name} is missing, it has to be a number, {allowed:allowed}; it may be missing only where requests_per_sec is "
        "0, and that is {requests}"
    ),
    "latency_null": _(
        "{name} is null, it has to be a number, {allowed:allowed}; it may be null only where requests_per_sec is 0, "
        "and that is {requests}"
    ),
    "metric_constant": _("{name}: {value} is not a number in JSON, it has to be a number, {allowed:allowed}"),
    "metric_no_number": _("{name} is {value}, it has to be a number, {allowed:allowed}"),
    "metric_not_finite": _("{name} is {value}, which is not finite; it has to be a number, {allowed:allowed}"),
    "metric_out_of_bounds": _("{name} is {number:exact}, allowed {allowed:allowed}"),
    "metric_looks_like_percent": _(
        "{name} is {number:exact}, allowed {allowed:allowed}: this looks like a percentage. Send a ratio, or set the "
        "unit of {name} to per cent in the settings of the environment"
    ),
    "metric_looks_like_amount": _(
        "{name} is {number:exact}, allowed {allowed:allowed}: this looks like an amount. Send the share of what there "
        "is"
    ),
    "allowed.not_negative": _("at least 0"),
    "allowed.ratio": _("0..1"),
    "allowed.percent": _("0..100"),
}

SIGNATURES = {
    "signature_version": _("The signature's version is not {version}."),
    "signature_timestamp": _("The timestamp is missing or cannot be read."),
    "signature_clock": _("The timestamp is too old or in the future: compare the clocks."),
    "signature_nonce": _("The nonce is missing or too long."),
    "signature_wrong": _("The signature is wrong."),
    "signature_reused": _("The nonce was used before."),
}


def exact(value: float, language: Language) -> str:
    """Write a number as it came: 42, 1.011, 536,870,912."""
    return language.digits(f"{value:,}".removesuffix(".0"))


register({**COLLECTIONS, **CONFIG, **JOURNEYS, **EXPRESSIONS, **PUSHED, **PAYLOAD, **SIGNATURES}, {"exact": exact})
