"""The exposition: what Prometheus's own parser makes of it, its documentation, and what dashboard and alert rules ask of it."""

import json
import re
import time
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from cdcd.admin.snapshot import (
    CanaryState,
    DatabaseState,
    Durations,
    EndpointState,
    FilesState,
    QueueState,
    Rates,
    Snapshot,
    StoreState,
    TriggerState,
    Trouble,
)
from cdcd.delivery.meter import ANSWERS, BOUNDS
from cdcd.server.metrics import exposition

ROOT = Path(__file__).resolve().parents[3]
BUCKETS = [1] * (len(BOUNDS) + 1)
OF_PROMETHEUS = {"instance", "job", "le"}  # labels that it adds, or that a histogram has


def snapshot(triggers: int = 1) -> Snapshot:
    """One of which nothing is unknown."""
    lasts = Durations(3, 0.1, 0.2, 0.3)
    replicated = DatabaseState("main", "replication", True, "", 10, 9, 8, 7.0, 1, 2, 3, 4, 5.0, 6.0, "reserved", 1.0)
    return Snapshot(
        project="shop",
        at=100.0,
        started_at=1.0,
        ready=True,
        troubles=[Trouble("endpoint.down", "w", 'endpoint "x\\y"\n', "f", 1.0)] * 2,
        rates=Rates(1.0, 2.0, 3.0),
        latency=lasts,
        latency_buckets=BUCKETS,
        latency_sum=12.5,
        in_flight=1,
        memory=2,
        memory_bytes=3,
        loop_lag=0.001,
        triggers=[
            TriggerState(f"t{number}", "http://x", 4, 1, 2, Rates(), 1, 2, 3, 50.0, "no", lasts, 5, 6.5, 1)
            for number in range(triggers)
        ],
        endpoints=[EndpointState("http://x", "open", 2.0, 1.0, 1, 8, 3, ["t"], dict.fromkeys(ANSWERS, 7), lasts, BUCKETS, 8.5)],
        databases=[replicated, DatabaseState("old", "triggers", True, "", 10, 9, 8, None, 1, 2)],
        store=StoreState(True, "", 1, 2, 3, 4, 5.5, 6.0, 7.0),
        files=[FilesState("uploads", "/srv", "", 4, 2)],
        queue=QueueState(1, 2, 3),
        canary=CanaryState("main", 30.0, 0.1, 99.0, None, 3, 2),
    )


def families(of: Snapshot | None = None) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(exposition(of or snapshot()).decode())}


def series() -> dict[str, set[str]]:
    """Every name that can be asked for, and its labels."""
    found: dict[str, set[str]] = {}
    for family in families().values():
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_values() -> None:
    found = families()
    assert found["cdcd_trigger_delivered"].samples[0].value == 4
    assert [sample.value for sample in found["cdcd_troubles"].samples] == [2]
    latency = {sample.labels.get("le"): sample.value for sample in found["cdcd_delivery_latency_seconds"].samples}
    assert latency["+Inf"] == len(BUCKETS)
    assert latency["0.001"] == 1
    circuit = {sample.labels["state"]: sample.value for sample in found["cdcd_endpoint_circuit"].samples}
    assert circuit == {"closed": 0, "open": 1, "probing": 0}
    assert [sample.labels["database"] for sample in found["cdcd_database_lag_bytes"].samples] == ["main"]
    assert [sample.labels["database"] for sample in found["cdcd_database_lag_changes"].samples] == ["old"]


def test_names_and_units() -> None:
    for family in families().values():
        assert family.name.startswith("cdcd_")
        assert family.documentation.endswith(".")
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples)
        assert family.type in ("counter", "gauge", "histogram", "summary")


def test_every_metric_is_documented() -> None:
    """As docs/metrics.md has it, word for word; `python -m tests.unit.server.test_metrics` prints the table."""
    assert "\n".join(table()) in (ROOT / "docs" / "metrics.md").read_text()


def test_what_dashboard_and_alerts_ask_for_exists() -> None:
    known = series()
    expressions = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    rules = [
        rule for group in yaml.safe_load((ROOT / "grafana" / "alerts.yml").read_text())["groups"] for rule in group["rules"]
    ]
    expressions += [rule["expr"] for rule in rules]
    assert len(expressions) > 40
    for expression in expressions:
        names = re.findall(r"cdcd_\w+", expression)
        assert names, expression
        labels: set[str] = set()
        for name in names:
            assert name in known, f"{name} in {expression}"
            labels |= known[name]
        for name, selector in re.findall(r"(cdcd_\w+)\{([^}]*)\}", expression):
            assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector)) <= known[name] | OF_PROMETHEUS, expression
        for grouped in re.findall(r"\b(?:by|on|without)\s*\(([^)]*)\)", expression):
            assert {label.strip() for label in grouped.split(",")} <= labels | OF_PROMETHEUS, expression
        assert expression.count("(") == expression.count(")"), expression
    for rule in rules:
        used = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        asked = set.union(*(known[name] for name in re.findall(r"cdcd_\w+", rule["expr"])))
        assert used <= asked | OF_PROMETHEUS, rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning")
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert shown <= set.union(*(known[name] for name in re.findall(r"cdcd_\w+", target["expr"]))), panel["title"]


def test_the_dashboard_is_laid_out() -> None:
    """Its panels lie within the grid and do not overlap."""
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        assert 0 <= at["x"] <= at["x"] + at["w"] <= 24
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


def test_a_thousand_triggers() -> None:
    begun = time.process_time()
    text = exposition(snapshot(1000))
    assert text.count(b"cdcd_trigger_delivered_total{") == 1000
    assert time.process_time() - begun < 2.0  # in a thread; a tenth of that is usual


def dashboard() -> Any:
    return json.loads((ROOT / "grafana" / "cdcd.json").read_text())


def table() -> list[str]:
    """The table of docs/metrics.md."""
    lines = ["| metric | kind | labels | what it tells |", "|---|---|---|---|"]
    for family in families().values():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        named = ", ".join(f"`{label}`" for label in labels)
        lines.append(f"| `{name}` | {family.type} | {named} | {family.documentation.removesuffix('.')} |")
    return lines


if __name__ == "__main__":
    print("\n".join(table()))
