#!/usr/bin/env python3
"""Makes tests/data/recorded/handler_requests.jsonl of recordings of a real Functions host: take_requests.py FOLDER

FOLDER holds one JSON file for each case, in a folder for each group. Kept is what the handler got, one request per line: its
head, its framing and its body, with the ids of that run.
"""

import json
import sys
from pathlib import Path

TARGET = Path(__file__).parent / "recorded" / "handler_requests.jsonl"
CASES = [
    "envelope/*",
    "probe/*",
    "forwarding/header-90-lines",
    "forwarding/header-expect",
    "forwarding/path-backslash-dots",
    "forwarding/path-double-encoded-dots",
    "forwarding/path-literal-dots",
    "proxying/header-90-lines",
    "proxying/header-expect",
    "proxying/path-backslash-dots",
    "proxying/path-double-encoded-dots",
]


def main(folder):
    lines = []
    for pattern in CASES:
        for file in sorted(Path(folder).glob(f"{pattern}.json")):
            for request in json.loads(file.read_text())["handler_requests"]:
                kept = {key: request[key] for key in ("head", "framing", "body")}
                lines.append(json.dumps({"case": f"{file.parent.name}/{file.stem}", **kept}, ensure_ascii=False))
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main(sys.argv[1])
