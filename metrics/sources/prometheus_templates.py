"""Expressions for what common exporters, proxies and libraries call their metrics. Pure.

In a query $selector stands for the labels of the service, $failed for the label that has its status with what says that
the service failed, and $__rate_interval for the range (metrics/sources/prometheus.py).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

REQUESTS, LATENCY, ERRORS, CPU, MEMORY = "requests_per_sec", "latency_p95", "error_rate", "cpu_usage", "memory_usage"
INSTANCES = "instances"
RANGE = "[$__rate_interval]"

# Labels that say where something runs; a service of the same name in another place is another one.
PLACES = (
    *("namespace", "exported_namespace", "kubernetes_namespace", "destination_workload_namespace", "service_namespace"),
    *("cluster", "env", "environment", "deployment_environment", "deployment_environment_name", "stage"),
)
# Labels that say what it is.
SERVICES = (
    *("service", "service_name", "exported_service", "app", "application", "app_kubernetes_io_name", "component"),
    *("job", "exported_job"),
)
# Labels that have a request's status, and what is a failure of the service there: 503, 5xx.
STATUSES = (
    "status",
    "code",
    "status_code",
    "http_status_code",
    "http_response_status_code",
    "http_status",
    "status_class",
)
FAILED = "5..|5XX"
STATUS = re.compile(r"[1-5]([0-9]{2}|xx|XX)")
GRPC_FAILED = "Unknown|Internal|Unavailable|DataLoss|DeadlineExceeded"


@dataclass(frozen=True, slots=True)
class Formula:
    """How one metric is computed from families that the server has to have."""

    metric: str
    query: str
    needs: Sequence[str]

    @property
    def asks_status(self) -> bool:
        return "$failed" in self.query


@dataclass(frozen=True, slots=True)
class Template:
    """What one exporter or library offers.

    families: of them the first that the server has is asked for labels; services: labels that name the service;
    statuses: labels that may have the status of a request; formulas: of several of one metric the first is used whose
    families are there. host: they are of a machine, whatever runs there.
    """

    name: str
    label: str
    families: Sequence[str]
    formulas: Sequence[Formula]
    services: Sequence[str] = SERVICES
    statuses: Sequence[str] = ()
    failed: str = FAILED
    host: bool = False

    def family(self, known: Iterable[str]) -> str | None:
        """Return the family to ask for labels; None: the server has nothing of this."""
        names = set(known)
        return next((family for family in self.families if family in names), None)

    def expressions(self, known: Iterable[str], selector: str, status: str | None) -> dict[str, str]:
        """Return the queries that are possible with these families, by metric. status: the label that has it."""
        names, found = set(known), dict[str, str]()
        for formula in self.formulas:
            if formula.metric in found or not names.issuperset(formula.needs) or (formula.asks_status and not status):
                continue
            query = formula.query.replace("$failed", f'{status}=~"{self.failed}"')
            found[formula.metric] = query.replace("$selector", selector)
        return found


def share(failed: str, all_of: str) -> str:
    """Return the share of one rate in another. Where nothing fails, the series of failures do not exist."""
    return f"(sum(rate({failed}{RANGE})) or vector(0)) / sum(rate({all_of}{RANGE}))"


def rate(requests: str, also: str = "") -> Formula:
    """Return the formula of requests per second, from their counter. also: further matchers."""
    return Formula(REQUESTS, f"sum(rate({requests}{{$selector{also}}}{RANGE}))", (requests,))


def failures(requests: str, also: str = "", failed: str = "$failed") -> Formula:
    """Return the formula of the share of failed requests. failed: the matcher that selects them."""
    query = share(f"{requests}{{$selector{also}, {failed}}}", f"{requests}{{$selector{also}}}")
    return Formula(ERRORS, query, (requests,))


def instances(family: str) -> Formula:
    """Return the formula of how many instances there are."""
    return Formula(INSTANCES, f"count(count by (instance) ({family}{{$selector}}))", (family,))


def quantile(base: str, *, scale: int = 1000, also: str = "") -> list[Formula]:
    """Return the formulas of the p95 of a histogram, classic or native, or of a summary. scale: what makes it ms."""
    factor = f"{scale} * " if scale != 1 else ""
    selector = f"{{$selector{also}}}"
    classic = f"{factor}histogram_quantile(0.95, sum by (le) (rate({base}_bucket{selector}{RANGE})))"
    native = f"{factor}histogram_quantile(0.95, sum(rate({base}{selector}{RANGE})))"
    summary = f'{factor}max({base}{{$selector{also}, quantile="0.95"}})'
    return [
        Formula(LATENCY, classic, (f"{base}_bucket",)),
        Formula(LATENCY, summary, (base, f"{base}_count")),
        Formula(LATENCY, native, (base,)),
    ]


def natively(base: str, also: str = "") -> list[Formula]:
    """Return the formulas of the rate and of the failed share of a native histogram."""
    counted = f"sum(histogram_count(rate({base}{{$selector{also}}}{RANGE})))"
    failed = f"sum(histogram_count(rate({base}{{$selector{also}, $failed}}{RANGE})))"
    return [Formula(REQUESTS, counted, (base,)), Formula(ERRORS, f"({failed} or vector(0)) / {counted}", (base,))]


def durations(base: str, label: str, services: Sequence[str] = SERVICES, *, scale: int = 1000) -> Template:
    """Return the template of a histogram of the durations of requests, whose labels have their status."""
    count = f"{base}_count"
    formulas = [rate(count), failures(count), *quantile(base, scale=scale), *natively(base)]
    formulas += [instances(count), instances(base)]
    return Template(base, label, (count, base), formulas, services, STATUSES)


def of_limit(metric: str, used: str, resource: str, machine: str) -> Formula:
    """Return the formula of a share of what containers may have, else of what the machines have."""
    limit = f'sum({LIMIT}{{$selector, resource="{resource}"}})'
    return Formula(metric, f"{used} / ({limit} or sum({machine}))", (LIMIT,))


BY_WORKLOAD = ', reporter=~"destination|waypoint"'
LIMIT = "kube_pod_container_resource_limits"
USED_CPU = f"sum(rate(container_cpu_usage_seconds_total{{$selector}}{RANGE}))"
USED_MEMORY = "sum(container_memory_working_set_bytes{$selector})"
HEAP = 'sum(jvm_memory_{}_bytes{{$selector, area="heap"}})'
NODE_CPU = f'1 - avg(rate(node_cpu_seconds_total{{$selector, mode="idle"}}{RANGE}))'
NODE_MEMORY = "1 - sum(node_memory_MemAvailable_bytes{$selector}) / sum(node_memory_MemTotal_bytes{$selector})"
CONTAINERS = ("container_label_com_docker_compose_service", "container", "name")

# In the order in which they are offered: those that measure the service itself come before those in front of it.
TEMPLATES: tuple[Template, ...] = (
    durations("http_server_request_duration_seconds", "OpenTelemetry"),
    durations("http_server_duration_milliseconds", "OpenTelemetry (until 2023)", scale=1),
    durations("http_server_requests_seconds", "Spring Boot (Micrometer)", ("application", *SERVICES)),
    durations("http_request_duration_seconds", "Prometheus client library"),
    durations("http_request_duration_milliseconds", "Prometheus client library (ms)", scale=1),
    durations("http_requests_duration_seconds", "Prometheus client library"),
    durations("flask_http_request_duration_seconds", "Flask (prometheus-flask-exporter)"),
    Template(
        "django_http",
        "Django (django-prometheus)",
        ("django_http_requests_before_middlewares_total",),
        (
            rate("django_http_requests_before_middlewares_total"),
            failures("django_http_responses_total_by_status_total", failed='status=~"5.."'),
            *quantile("django_http_requests_latency_including_middlewares_seconds"),
            instances("django_http_requests_before_middlewares_total"),
        ),
    ),
    Template(
        "grpc_server",
        "gRPC",
        ("grpc_server_handled_total",),
        (
            rate("grpc_server_handled_total"),
            failures("grpc_server_handled_total", failed=f'grpc_code=~"{GRPC_FAILED}"'),
            *quantile("grpc_server_handling_seconds"),
            instances("grpc_server_handled_total"),
        ),
    ),
    Template(
        "http_requests_total",
        "Prometheus client library (counter)",
        ("http_requests_total",),
        (rate("http_requests_total"), failures("http_requests_total"), instances("http_requests_total")),
        statuses=STATUSES,
    ),
    Template(
        "istio",
        "Istio",
        ("istio_requests_total",),
        (
            rate("istio_requests_total", BY_WORKLOAD),
            failures("istio_requests_total", BY_WORKLOAD, 'response_code=~"5.."'),
            *quantile("istio_request_duration_milliseconds", scale=1, also=BY_WORKLOAD),
        ),
        ("destination_workload", "destination_service_name"),
    ),
    Template(
        "nginx_ingress_controller",
        "ingress-nginx",
        ("nginx_ingress_controller_requests", "nginx_ingress_controller_request_duration_seconds_count"),
        (
            rate("nginx_ingress_controller_requests"),
            rate("nginx_ingress_controller_request_duration_seconds_count"),
            failures("nginx_ingress_controller_requests", failed='status=~"5.."'),
            failures("nginx_ingress_controller_request_duration_seconds_count", failed='status=~"5.."'),
            *quantile("nginx_ingress_controller_request_duration_seconds"),
        ),
        ("ingress", "exported_service", "service"),
    ),
    Template(
        "traefik_service",
        "Traefik",
        ("traefik_service_requests_total",),
        (
            rate("traefik_service_requests_total"),
            failures("traefik_service_requests_total", failed='code=~"5.."'),
            *quantile("traefik_service_request_duration_seconds"),
        ),
        ("exported_service", "service"),
    ),
    Template(
        "envoy_cluster",
        "Envoy",
        ("envoy_cluster_upstream_rq_total", "envoy_cluster_upstream_rq_completed"),
        (
            rate("envoy_cluster_upstream_rq_total"),
            rate("envoy_cluster_upstream_rq_completed"),
            Formula(
                ERRORS,
                share(
                    'envoy_cluster_upstream_rq_xx{$selector, envoy_response_code_class="5"}',
                    "envoy_cluster_upstream_rq_xx{$selector}",
                ),
                ("envoy_cluster_upstream_rq_xx",),
            ),
            failures("envoy_cluster_upstream_rq", failed='envoy_response_code=~"5.."'),
            *quantile("envoy_cluster_upstream_rq_time", scale=1),
        ),
        ("envoy_cluster_name", "cluster_name"),
    ),
    Template(
        "nginx_vts",
        "nginx (vts module)",
        ("nginx_vts_server_requests_total",),
        (
            rate("nginx_vts_server_requests_total", ', code=~"[1-5]xx"'),
            failures("nginx_vts_server_requests_total", ', code=~"[1-5]xx"', 'code="5xx"'),
            *quantile("nginx_vts_server_request_duration_seconds"),
        ),
        ("host",),
    ),
    Template(
        "caddy",
        "Caddy",
        ("caddy_http_request_duration_seconds_count",),
        (
            rate("caddy_http_request_duration_seconds_count"),
            failures("caddy_http_request_duration_seconds_count", failed='code=~"5.."'),
            *quantile("caddy_http_request_duration_seconds"),
        ),
        ("server", "host", *SERVICES),
    ),
    Template(
        "containers",
        "cAdvisor (Kubernetes, Docker)",
        ("container_cpu_usage_seconds_total",),
        (
            of_limit(CPU, USED_CPU, "cpu", "machine_cpu_cores"),
            of_limit(MEMORY, USED_MEMORY, "memory", "machine_memory_bytes"),
            Formula(CPU, f"{USED_CPU} / scalar(sum(machine_cpu_cores))", ("machine_cpu_cores",)),
            Formula(MEMORY, f"{USED_MEMORY} / scalar(sum(machine_memory_bytes))", ("machine_memory_bytes",)),
        ),
        CONTAINERS,
    ),
    Template(
        "jvm",
        "JVM (Micrometer)",
        ("jvm_memory_used_bytes",),
        (
            Formula(CPU, "avg(process_cpu_usage{$selector})", ("process_cpu_usage",)),
            Formula(
                MEMORY,
                f"{HEAP.format('used')} / {HEAP.format('max')}",
                ("jvm_memory_used_bytes", "jvm_memory_max_bytes"),
            ),
        ),
        ("application", *SERVICES),
    ),
    Template(
        "process",
        "Prometheus client library: the process",
        ("process_cpu_seconds_total",),
        (
            Formula(
                CPU,
                f"clamp_max(avg(rate(process_cpu_seconds_total{{$selector}}{RANGE})), 1)",
                ("process_cpu_seconds_total",),
            ),
            Formula(
                MEMORY,
                "max(process_resident_memory_bytes{$selector}) / scalar(max(node_memory_MemTotal_bytes))",
                ("process_resident_memory_bytes", "node_memory_MemTotal_bytes"),
            ),
        ),
    ),
    Template(
        "node",
        "node_exporter: the whole machine",
        ("node_cpu_seconds_total",),
        (
            Formula(CPU, NODE_CPU, ("node_cpu_seconds_total",)),
            Formula(MEMORY, NODE_MEMORY, ("node_memory_MemAvailable_bytes", "node_memory_MemTotal_bytes")),
        ),
        ("job", "instance"),
        host=True,
    ),
)
# Histograms of others: named for requests and for a duration.
OTHERS = re.compile(r"([a-z0-9_]*(?:request|http|rpc)[a-z0-9_]*_(?:duration|latency|time)[a-z0-9_]*?)(_bucket)?")
PARTS = ("_count", "_sum", "_total", "_created", "_max", "_min", "_info")
# The names to ask a server for, short enough for a URL: those of the templates, and others like them.
NAMES = (
    "[a-z0-9_]*(request|http|rpc)[a-z0-9_]*_(duration|latency|time|seconds|milliseconds)[a-z0-9_]*|http_requests_total|"
    "django_http_[a-z_]*_total|grpc_server_handled_total|istio_requests_total|nginx_ingress_controller_requests|"
    "traefik_service_requests_total|envoy_cluster_upstream_rq.*|nginx_vts_server_requests_total|"
    "container_cpu_usage_seconds_total|container_memory_working_set_bytes|kube_pod_container_resource_limits|"
    "machine_(cpu_cores|memory_bytes)|jvm_memory_(used|max)_bytes|process_cpu_(usage|seconds_total)|"
    "process_resident_memory_bytes|node_cpu_seconds_total|node_memory_Mem(Available|Total)_bytes"
)


def other_templates(known: Iterable[str]) -> list[Template]:
    """Return templates for histograms of durations that none of ours names."""
    ours = {family for one in TEMPLATES for formula in one.formulas for family in formula.needs}
    names, found = set(known), []
    for name in sorted(names - ours):
        match = OTHERS.fullmatch(name)
        # Without buckets it is a native histogram, unless it is a part of something, or a summary.
        native = not name.endswith(PARTS) and f"{name}_count" not in names and f"{name}_bucket" not in names
        if match is not None and (match[2] or native):
            scale = 1 if match[1].endswith(("_milliseconds", "_ms")) else 1000
            found.append(durations(match[1], match[1], scale=scale))
    return found
