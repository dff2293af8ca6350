"""Requests as lines of JSON on standard input, their answers on standard output."""

import base64
import json
import sys


def serve(operations):
    """Calls `operations[request["do"]]` with the rest of the request, until the input ends."""
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"ok": operations[request.pop("do")](**request)}
        except Exception as error:  # the test has to see any exception of the SDK
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


def to_text(data):
    """Bytes as base64."""
    return base64.b64encode(data).decode()


def to_bytes(text):
    """The bytes of base64."""
    return base64.b64decode(text)
