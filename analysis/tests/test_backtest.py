import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from analysis.cases import CaseError, parse_case
from analysis.tests.samples import FINISH, as_row, make_case, make_post, make_pre, rows


def parse(case: Any) -> Any:
    return parse_case(json.dumps(case))


def run(tmp_path: Path, *lines: Any, expect_errors: bool = False, **options: Any) -> tuple[list[dict[str, Any]], str]:
    """Results and stderr of the command for these cases (text lines are written as they are)."""
    cases = tmp_path / "cases.jsonl"
    texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    cases.write_bytes(b"\n".join(texts) + b"\n")
    out, err = io.StringIO(), io.StringIO()
    if expect_errors:
        with pytest.raises(CommandError) as caught:
            call_command("backtest", str(cases), stdout=out, stderr=err, **options)
        assert caught.value.returncode == 1
    else:
        call_command("backtest", str(cases), stdout=out, stderr=err, **options)
    return [json.loads(line) for line in out.getvalue().splitlines()], err.getvalue()


# --- reading cases -------------------------------------------------------------------------------------------------


def test_a_case_becomes_samples_and_a_window() -> None:
    case = parse(make_case("x", observation_minutes=10, post=rows(make_post(10))))
    assert (case.id, len(case.pre), len(case.post)) == ("x", 3, 10)
    assert (case.window.expected, case.window.interval_s) == (10, 60.0)
    assert case.window.evaluated_at == FINISH + timedelta(minutes=5)
    assert {sample.origin for sample in case.pre} == {"pre"}


def test_a_sample_without_requests_needs_no_latency() -> None:
    [idle, _, _] = rows(make_post(3, requests_per_sec=0.0))
    absent = {name: value for name, value in idle.items() if name != "latency_p95"}
    case = parse(make_case(post=[{**idle, "latency_p95": None}, absent]))
    assert [one.latency_p95 for one in case.post] == [None, None]


@pytest.mark.parametrize("empty", [[], None])
def test_either_list_may_be_empty_null_or_missing(empty: Any) -> None:
    assert parse(make_case(pre=empty)).pre == ()
    assert parse(make_case(post=empty)).post == ()
    assert parse({"id": 7}).window.evaluated_at is None


def test_without_a_time_of_evaluation_it_follows_the_last_sample() -> None:
    case = parse(make_case(evaluated_at=None))
    assert case.window.evaluated_at == FINISH + timedelta(seconds=300)
    assert parse(make_case(evaluated_at=None, post=[])).window.evaluated_at == FINISH + timedelta(seconds=240)


@pytest.mark.parametrize(
    "written",
    [
        "2026-02-13T10:00:00Z",
        "2026-02-13T11:00:00+01:00",
        "2026-02-13T10:00:00",
        "2026-02-13T10:00:00.000000Z",
        FINISH.timestamp(),
        int(FINISH.timestamp()),
    ],
)
def test_times_are_iso_or_epoch_seconds(written: Any) -> None:
    case = parse(make_case(post=[{**as_row(make_post(1)[0]), "collected_at": written}], evaluated_at=written))
    assert case.post[0].collected_at == case.window.evaluated_at == datetime(2026, 2, 13, 10, tzinfo=UTC)


def test_samples_are_put_in_the_order_of_time() -> None:
    case = parse(make_case(post=rows(make_post())[::-1]))
    assert [sample.collected_at for sample in case.post] == sorted(sample.collected_at for sample in case.post)


def test_unknown_keys_are_ignored() -> None:
    post = [{**row, "disk": "full"} for row in rows(make_post())]
    assert parse(make_case(post=post, label={"kind": "good"})) == parse(make_case())


def with_post(**changes: Any) -> dict[str, Any]:
    post = [dict(row) for row in rows(make_post())]
    post[2].update(changes)
    return make_case(post=post)


def test_a_sample_may_have_any_of_the_metrics() -> None:
    some = {"collected_at": 60, "cpu_usage": 0.5, "error_rate": None, "custom": {"jobs": 3}, "instances": 2}
    [one] = parse(make_case(post=[some])).post
    assert (one.cpu_usage, one.requests_per_sec, one.error_rate) == (0.5, None, None)
    assert (one.custom, one.instances) == ({"jobs": 3.0}, 2)


@pytest.mark.parametrize(
    ("case", "field"),
    [
        ([], "line"),
        ({"pre": []}, "id"),
        (make_case(None), "id"),  # type: ignore[arg-type]
        (make_case(True), "id"),
        (make_case(["a"]), "id"),  # type: ignore[arg-type]
        (make_case(""), "id"),
        (make_case(pre={}), "pre"),
        (make_case(post="none"), "post"),
        (make_case(post=[None]), "post[0]"),
        (make_case(post=[{}]), "post[0].collected_at"),
        (make_case(post=[{"collected_at": 0}]), "post[0]"),
        (with_post(custom={"jobs": "5"}), "post[2].custom.jobs"),
        (with_post(custom={"jobs": float("nan")}), "post[2].custom.jobs"),
        (with_post(custom=[]), "post[2].custom"),
        (with_post(instances=0), "post[2].instances"),
        (with_post(latency_p95=float("nan")), "post[2].latency_p95"),
        (with_post(latency_p95=float("inf")), "post[2].latency_p95"),
        (with_post(latency_p95=10**400), "post[2].latency_p95"),
        (with_post(latency_p95="12"), "post[2].latency_p95"),
        (with_post(latency_p95=-1), "post[2].latency_p95"),
        (with_post(error_rate=True), "post[2].error_rate"),
        (with_post(error_rate=4.2), "post[2].error_rate"),
        (with_post(collected_at="yesterday"), "post[2].collected_at"),
        (with_post(collected_at=None), "post[2].collected_at"),
        (with_post(collected_at=1770976800000), "post[2].collected_at"),
        (with_post(collected_at=10**400), "post[2].collected_at"),
        (with_post(collected_at=float("nan")), "post[2].collected_at"),
        (with_post(collected_at="9999-12-31T23:59:59-14:00"), "post[2].collected_at"),
        (make_case(evaluated_at=[]), "evaluated_at"),
        (make_case(observation_minutes=0), "observation_minutes"),
        (make_case(observation_minutes=2.5), "observation_minutes"),
        (make_case(observation_minutes="5"), "observation_minutes"),
        (make_case(observation_minutes=float("nan")), "observation_minutes"),
        (make_case(observation_minutes=10**400), "observation_minutes"),
    ],
)
def test_a_wrong_value_is_refused_with_its_field(case: Any, field: str) -> None:
    with pytest.raises(CaseError) as caught:
        parse(case)
    assert caught.value.field == field
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("line", [b"{", b"\xff{}", b"[" * 100_000, b'{"id": ' + b"9" * 5000 + b"}", b"\x00"])
def test_a_line_that_is_not_json_is_refused(line: bytes) -> None:
    with pytest.raises(CaseError, match=r"^line: "):
        parse_case(line)


# --- the command ---------------------------------------------------------------------------------------------------


def test_each_case_gets_one_line_in_order(tmp_path: Path) -> None:
    broken = rows(make_post(error_rate=0.5, latency_p95=900.0))
    results, _ = run(tmp_path, make_case("good"), make_case(2, post=broken), make_case("none", pre=[], post=[]))
    assert [(result["id"], result["verdict"], result["conclusive"]) for result in results] == [
        ("good", "ok", True),
        (2, "rollback_recommended", True),
        ("none", "warning", False),
    ]
    assert results[1]["failed_metrics"] == ["latency_p95", "error_rate"]
    assert set(results[0]) == {"id", "verdict", "confidence", "conclusive", "score", "failed_metrics", "hints"}
    (hint,) = results[1]["hints"]
    assert (hint["code"], hint["metric"], hint["severity"]) == ("service_degradation", "error_rate", "critical")
    assert results[0]["score"] < results[2]["score"] < results[1]["score"]


def test_a_bad_line_is_reported_and_the_others_are_judged(tmp_path: Path) -> None:
    results, err = run(
        tmp_path, make_case("a"), b'{"id": "half', with_post(cpu_usage=float("nan")), make_case("d"), expect_errors=True
    )
    assert [result.get("verdict") for result in results] == ["ok", None, None, "ok"]
    assert results[1]["id"] is None and "not JSON" in results[1]["error"]
    assert results[2] == {"id": "a", "error": "post[2].cpu_usage: Input should be a finite number"}
    assert "line 2: line: not JSON" in err
    assert "line 3: post[2].cpu_usage" in err


def test_lines_are_counted_as_an_editor_does(tmp_path: Path) -> None:
    results, err = run(tmp_path, make_case("a"), b"", b"  ", {"id": 1, "pre": 1}, expect_errors=True)
    assert len(results) == 2
    assert "line 4: pre" in err


def test_any_text_is_fit_to_be_an_id(tmp_path: Path) -> None:
    names = ["é\u2028\n", "\ud800", "\x00"]
    results, _ = run(tmp_path, *(make_case(name) for name in names))
    assert [result["id"] for result in results] == names


def test_results_go_to_a_file_if_asked(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    results, _ = run(tmp_path, make_case("a"), output=str(output))
    assert results == []
    assert json.loads(output.read_text())["id"] == "a"


def test_the_same_cases_give_the_same_results(tmp_path: Path) -> None:
    cases = [make_case(index, evaluated_at=None, post=rows(make_post(index))) for index in range(6)]
    assert run(tmp_path, *cases) == run(tmp_path, *cases)


def test_a_policy_file_changes_the_judgement(tmp_path: Path) -> None:
    policy = tmp_path / "policy.json"
    policy.write_text('{"kind": "fixed", "latency_p95": {"limit": 100}}')
    assert run(tmp_path, make_case())[0][0]["verdict"] == "ok"
    assert run(tmp_path, make_case(), policy="fixed")[0][0]["verdict"] == "ok"
    assert run(tmp_path, make_case(), policy=str(policy))[0][0]["verdict"] == "warning"


@pytest.mark.parametrize("text", ['{"kind": "fixed", "latency_p95": {"limit": -1}}', "{", "[1]"])
def test_a_wrong_policy_judges_nothing(tmp_path: Path, text: str) -> None:
    policy = tmp_path / "policy.json"
    policy.write_text(text)
    with pytest.raises(CommandError, match="policy"):
        run(tmp_path, make_case(), policy=str(policy))


@pytest.mark.parametrize("policy", ["strict", "missing.json"])
def test_an_unknown_policy_judges_nothing(tmp_path: Path, policy: str) -> None:
    with pytest.raises(CommandError, match="--policy"):
        run(tmp_path, make_case(), policy=policy)


def test_a_missing_file_of_cases_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"absent\.jsonl: No such file"):
        call_command("backtest", str(tmp_path / "absent.jsonl"))


def test_the_cases_are_never_overwritten_by_the_results(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="--output"):
        run(tmp_path, make_case(), output=str(tmp_path / "cases.jsonl"))
    assert (tmp_path / "cases.jsonl").stat().st_size > 0


@pytest.mark.integration
def test_it_runs_where_no_database_can_be_reached(tmp_path: Path) -> None:
    cases = tmp_path / "cases.jsonl"
    cases.write_text(json.dumps(make_case("a", pre=rows(make_pre(3)))) + "\n{}\n")
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "seqpulse.settings",
        "DATABASE_URL": "postgres://nobody:x@127.0.0.1:1/none",
        "DEBUG": "1",
        "SEQPULSE_DATA_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "manage.py", "backtest", str(cases)],
        cwd=settings.BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert [json.loads(line).get("verdict") for line in done.stdout.splitlines()] == ["ok", None]
    assert "line 2: id: Field required" in done.stderr
