"""The metrics, read by the programs that will read them: two parsers of the format's own library, promtool and Prometheus."""

import subprocess

import pytest
from conftest import METRICS
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain

# Family, labels and kind, as the documentation lists them.
FAMILIES = {
    "score_requests": ({"function", "model", "status"}, "counter"),
    "score_request_seconds": ({"model"}, "histogram"),
    "score_rows": ({"model"}, "counter"),
    "score_cache_local_hits": (set(), "counter"),
    "score_cache_redis_hits": (set(), "counter"),
    "score_cache_misses": (set(), "counter"),
    "score_cache_redis_up": (set(), "gauge"),
    "score_redis_seconds": ({"operation"}, "histogram"),
    "score_inference_seconds": ({"model"}, "histogram"),
    "score_queue_wait_seconds": ({"model"}, "histogram"),
    "score_batch_rows": ({"model"}, "histogram"),
    "score_waiting_rows": ({"model"}, "gauge"),
    "score_requests_in_flight": (set(), "gauge"),
    "score_body_bytes_in_use": (set(), "gauge"),
    "score_model_up": ({"model"}, "gauge"),
    "score_model_load_seconds": ({"model"}, "gauge"),
}
FORMATS = {
    "text/plain; version=0.0.4; charset=utf-8": ("text/plain;version=0.0.4", plain),
    "application/openmetrics-text; version=1.0.0; charset=utf-8": (
        "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
        open_metrics,
    ),
}


def read(handler, content_type):
    accept, parse = FORMATS[content_type]
    status, found, text = handler.send("GET", METRICS, headers={"Accept": accept})
    assert (status, found) == (200, content_type)
    return {family.name: family for family in parse(text)}


@pytest.mark.parametrize("content_type", FORMATS)
def test_a_parser_of_the_format_reads_every_family(handler, prometheus, content_type):
    families = read(handler, content_type)
    for name, (labels, kind) in FAMILIES.items():
        family = families[name]
        assert family.type == kind, name
        assert family.documentation, name
        assert family.samples, name
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == labels, sample


def test_both_formats_hold_the_same(handler, prometheus):
    def samples(content_type):
        families = read(handler, content_type).values()
        # Counters that the question itself raises, and times, would differ.
        return {
            (sample.name, tuple(sorted(sample.labels.items())))
            for family in families
            for sample in family.samples
            if not sample.name.endswith("_created")
        }

    one, other = (samples(content_type) for content_type in FORMATS)
    assert one == other


def test_a_histogram_ends_with_all_that_was_counted(handler, prometheus):
    families = read(handler, next(iter(FORMATS)))
    for name, (_, kind) in FAMILIES.items():
        if kind != "histogram":
            continue
        series = {}
        for sample in families[name].samples:
            labels = tuple(sorted((key, value) for key, value in sample.labels.items() if key != "le"))
            series.setdefault(labels, {}).setdefault(sample.name.removeprefix(name), []).append(sample)
        for parts in series.values():
            buckets = [sample.value for sample in parts["_bucket"]]
            assert buckets == sorted(buckets), name
            assert buckets[-1] == parts["_count"][0].value > 0, name
            assert parts["_sum"][0].value >= 0, name


def test_promtool_has_nothing_to_say(handler):
    status, _, text = handler.send("GET", METRICS)
    assert status == 200
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_prometheus_scrapes_it(prometheus):
    targets = prometheus.ask("targets")["data"]["activeTargets"]
    assert [(target["health"], target["lastError"]) for target in targets] == [("up", "")]
    help_texts = prometheus.ask("metadata")["data"]
    for name, (_, kind) in FAMILIES.items():
        full = f"{name}_total" if kind == "counter" else name
        known = help_texts.get(name) or help_texts[full]
        assert known[0]["type"] == kind, name
    assert float(prometheus.query('sum(rate(score_requests_total{status="200"}[30s]))')[0]["value"][1]) > 0
