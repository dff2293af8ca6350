"""Requests: the sample digits in the forms that callers send."""

import json
import struct
from dataclasses import dataclass
from typing import Callable

from . import ROOT

KNOWN_ROWS = 100


def text_stamp(number):
    """Two pixels that make a row new, as text."""
    return b"0.%04d,0.%04d" % divmod(number, 10_000)


def binary_stamp(number):
    """The same two pixels as float32."""
    return struct.pack("<2f", *(part / 10_000 for part in divmod(number, 10_000)))


@dataclass(frozen=True)
class Request:
    """A request in pieces, to be joined with a stamp if there are several, and how its answer ends."""

    pieces: list
    answer_end: bytes


@dataclass(frozen=True)
class Form:
    """How rows are written into a request."""

    # Of the rows' pieces and their number: the whole body's pieces.
    wrap: Callable
    stamp: Callable = text_stamp
    pixels: Callable = lambda pixels: b"," + ",".join(map(str, pixels)).encode()
    between: bytes = b","
    headers: str = "Content-Type: application/json\r\n"
    # Whether it goes to the model's own path of the Open Inference Protocol.
    open_inference: bool = False
    # What of the answer's end says that the labels are right.
    answer: str = "\r\n\r\n{labels}"


def framed(head, pieces, tail):
    """The pieces with something before the first and behind the last."""
    pieces = list(pieces)
    pieces[0] = head + pieces[0]
    pieces[-1] += tail
    return pieces


def wrap_json(pieces, rows):
    # Rows are arrays of their own here; their brackets belong to what lies between them.
    return framed(b'{"data":[[', pieces, b"]]}")


def wrap_envelope(pieces, rows):
    """The form in which the Functions host passes on what it received, without forwarding."""
    marker = "BODY"
    headers = {"Content-Type": "application/json", "Host": "localhost"}
    envelope = {
        "Data": {
            "req": {
                "Url": "http://localhost/api/score",
                "Method": "POST",
                "Query": {},
                "Headers": {name: [value] for name, value in headers.items()},
                "Params": {"path": None},
                "Identities": [{"AuthenticationType": None, "IsAuthenticated": False, "Claims": []}],
                "Body": marker,
            }
        },
        "Metadata": {
            "Query": {},
            "Headers": headers,
            "sys": {
                "MethodName": "score_http",
                "UtcNow": "2026-03-01T10:00:05.123Z",
                "RandGuid": "7e7d6c1c-3f0e-4f57-9c4e-0c7f4b1f2a3d",
            },
        },
    }
    head, tail = json.dumps(envelope, separators=(",", ":")).encode().split(marker.encode())
    inner = [piece.replace(b'"', b'\\"') for piece in wrap_json(pieces, rows)]
    return framed(head, inner, tail)


def inference_head(rows, more):
    return b'{"inputs":[{"name":"x","shape":[%d,784],"datatype":"FP32",%s' % (rows, more)


def wrap_inference(pieces, rows):
    return framed(inference_head(rows, b'"data":['), pieces, b"]}]}")


def inference_binary_head(rows):
    return inference_head(rows, b'"parameters":{"binary_data_size":%d}}]}' % (rows * 784 * 4))


def wrap_inference_binary(pieces, rows):
    return framed(inference_binary_head(rows), pieces, b"")


def pack_pixels(pixels):
    return struct.pack(f"<{len(pixels)}f", *pixels)


INFERENCE_ANSWER = '"data":{labels}}}]}}'
FORMS = {
    "JSON": Form(wrap_json, between=b"],["),
    "envelope": Form(wrap_envelope, between=b"],[", answer='"body":"{labels}"}}}}}}'),
    "V2 JSON": Form(wrap_inference, open_inference=True, answer=INFERENCE_ANSWER),
    "V2 binary": Form(
        wrap_inference_binary,
        stamp=binary_stamp,
        pixels=pack_pixels,
        between=b"",
        headers="Content-Type: application/octet-stream\r\nInference-Header-Content-Length: {head}\r\n",
        open_inference=True,
        answer=INFERENCE_ANSWER,
    ),
    "octet-stream": Form(
        lambda pieces, rows: pieces,
        stamp=binary_stamp,
        pixels=pack_pixels,
        between=b"",
        headers="Content-Type: application/octet-stream\r\n",
    ),
}


class Digits:
    """The sample digits. Two corner pixels, blank in every digit, take a number that makes a row new."""

    def __init__(self):
        text = (ROOT / "examples/mnist/digits.json").read_text()
        labels = json.loads((ROOT / "examples/mnist/labels.json").read_text())
        self.rows = json.loads(text)["data"][:KNOWN_ROWS]
        # The models that are made for the bench know these digits by heart.
        self.labels = {"mnist": labels["scikit_learn"], "mlp": labels["true"], "convnet": labels["true"]}

    def request(self, path, form, model, first, rows, new, spaced=False, host="localhost"):
        """A request for `rows` digits, `new` of them to be made new by a stamp.

        `spaced` means an answer with blanks between the labels.
        """
        form = FORMS[form]
        pieces, labels = [b""], []
        for place in range(rows):
            digit = (first + place) % KNOWN_ROWS
            labels.append(self.labels[model][digit])
            if place:
                pieces[-1] += form.between
            if place * new // rows != (place + 1) * new // rows:
                pieces.append(b"")
            else:
                pieces[-1] += form.stamp(0)
            pieces[-1] += form.pixels(self.rows[digit][2:])
        pieces = form.wrap(pieces, rows)
        length = sum(map(len, pieces)) + (len(pieces) - 1) * len(form.stamp(0))
        headers = form.headers.format(head=len(inference_binary_head(rows)))
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: {length}\r\n\r\n"
        separators = (", " if spaced else ",", ":")
        answer = form.answer.format(labels=json.dumps(labels, separators=separators))
        return Request(framed(head.encode(), pieces, b""), answer.encode())

    def requests(self, *what, rows, new, spaced=False, host="localhost"):
        """Requests that differ in the digits they begin with."""
        step = 1 if rows == 1 else KNOWN_ROWS // 4
        return [self.request(*what, first, rows, new, spaced, host) for first in range(0, KNOWN_ROWS, step)]
