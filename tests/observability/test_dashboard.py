"""The dashboard: what it asks of Prometheus is understood, and answered where there was load."""

import json
import re

import pytest
from program import ROOT

DASHBOARD = json.loads((ROOT / "deploy/grafana/score.json").read_text())
# Grafana fills these in.
VARIABLES = {"$__rate_interval": "30s", "$job": ".*", "$model": ".*"}


def questions():
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")


def test_every_panel_uses_the_chosen_data_source():
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    for panel in DASHBOARD["panels"]:
        assert panel["datasource"] == chosen, panel["title"]
        assert all(target["datasource"] == chosen for target in panel["targets"]), panel["title"]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)


def test_the_variables_have_values(prometheus):
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] != "query":
            continue
        series, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]).groups()
        found = prometheus.query(f"count by ({label}) ({series})")
        assert found and all(label in one["metric"] for one in found), variable["name"]


@pytest.mark.parametrize("expression", list(questions()))
def test_every_question_is_answered(prometheus, expression):
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    answer = prometheus.query(expression)
    assert answer, expression
    # Not a number: nothing was counted where the load should have left something.
    assert all(one["value"][1] != "NaN" for one in answer), (expression, answer)


def test_shares_of_errors_are_of_what_is_to_be_scored(prometheus):
    shares = [panel for panel in DASHBOARD["panels"] if panel["title"] == "Share of errors"]
    for target in shares[0]["targets"]:
        numerator, denominator = target["expr"].split(" / ")
        assert all('function!~"info|none"' in part for part in (numerator, denominator)), target["expr"]
    counted = prometheus.query("sum by (function) (score_requests_total)")
    # What Prometheus itself asks for is no scoring.
    assert {"score", "info", "score_queue"} <= {one["metric"]["function"] for one in counted}
