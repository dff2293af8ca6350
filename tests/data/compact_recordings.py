#!/usr/bin/env python3
"""Makes tests/data/recorded of recordings of a real Functions host: compact_recordings.py FOLDER

FOLDER holds one JSON file for each case, in a folder for each group. Each group becomes one file with one case per line.
What the tests do not compare is left out: times, log lines, the values of ids and dates (the tests mask them by their form).
"""

import json
import sys
from pathlib import Path

TARGET = Path(__file__).parent / "recorded"
KEPT = ("case", "what", "mode", "core", "settings", "trigger", "client_request", "client_request_b64")
BYTES = ("raw", "raw_b64", "head", "head_b64", "body", "body_b64")


def omitted(holder, name):
    return {f"{name}_length": holder[name]["length"]} if name in holder else {}


def request(recorded):
    kept = {key: recorded[key] for key in BYTES if key in recorded}
    kept |= {key: recorded[key] for key in ("framing", "chunk_sizes", "cut_off") if key in recorded}
    return kept | omitted(recorded, "body_omitted") | {"times": 1 + len(recorded.get("same_again", []))}


def answer(recorded):
    """What was answered; nothing but the reason where the connection was closed."""
    keys = (*BYTES, "closed_by_handler", "closed_by_host", "none", "connection")
    return {key: recorded[key] for key in keys if key in recorded and recorded[key] is not None and type(recorded[key]) is not int}


def output(recorded):
    kept = {key: value for key, value in recorded.items() if key in ("where", "function", "message_text", "body", "body_b64")}
    if "body" in kept:
        kept.pop("body_b64", None)
    return kept


def answers(case):
    """One for each request; where a request came again, those that say the same as the one before are left out."""
    items = [answer(recorded) for recorded in case["handler_answers"]]
    if not any("same_again" in recorded for recorded in case["handler_requests"]):
        return items
    return [item for index, item in enumerate(items) if index == 0 or item != items[index - 1]]


def compact(case):
    kept = {key: case[key] for key in KEPT if key in case} | omitted(case, "client_request_body_omitted")
    if "client_request_parts" in case:
        kept["client_request_parts"] = [part["raw"] for part in case["client_request_parts"]]
    kept["handler_requests"] = [request(recorded) for recorded in case["handler_requests"]]
    kept["handler_answers"] = answers(case)
    if case.get("client_answer"):
        kept["client_answer"] = answer(case["client_answer"])
    if "connections_without_request" in case:
        kept["connections_without_request"] = case["connections_without_request"]
    if "outputs" in case:
        kept["outputs"] = [output(recorded) for recorded in case["outputs"]]
    if "clients" in case:
        kept["clients"] = [
            {"name": client["name"], "request": client.get("request"), "answer": answer(client["answer"])}
            for client in case["clients"]
        ]
    return kept


def main():
    TARGET.mkdir(exist_ok=True)
    for folder in sorted(path for path in Path(sys.argv[1]).iterdir() if path.is_dir()):
        cases = [compact(json.loads(path.read_text("utf-8"))) for path in sorted(folder.glob("*.json"))]
        lines = [json.dumps(case, ensure_ascii=False, separators=(",", ":")) + "\n" for case in cases]
        (TARGET / f"{folder.name}.jsonl").write_text("".join(lines), "utf-8")


if __name__ == "__main__":
    main()
