"""Thousands of damaged requests in every dialect: each is answered, none with a fault of the server."""

import gzip
import io
import json
import os
import random
from collections import Counter

import numpy as np
import pytest
from PIL import Image

import harness
from harness import Handler
from test_formats import npy, table_model
from test_triton_client import calculator

MUTATIONS = int(os.environ.get("SCORE_MUTATIONS", "2500"))
SEED = int(os.environ.get("SCORE_SEED", "20260704"))

WORDS = [
    b"NaN", b"Infinity", b"1e999", b"-0", b"1e-999", b"99999999999999999999", b"null", b"true", b'"x"', b"{}", b"[]",
    b"[[", b"]]", b",", b":", b'"', b"\\ud800", b"\x00", b"\xff\xfe", b"\xc3", b"\xf0\x9f\xa7\x80", b'{"data":', b"[" * 50,
    b"-1", b"1.5", b'"shape"', b'"datatype"', b'"FP64"', b'"binary_data_size"', b'"outputs"', b"4294967296", b"\r\n",
]
VALUES = [
    None, True, False, 0, -1, 1.5, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 1e308, "", "x", "NaN", "Infinity", [], {},
    [[]], [[], []], [None], [[0]], {"data": []}, "9" * 400, [[[[[[[[[[[[[[[[[[0]]]]]]]]]]]]]]]]]], "\u0000", "🧀" * 50,
    [0] * 1000, {"name": "x"}, {"shape": [2**40, 2**40]}, [2**62, 4], [0, 2**40], [-1, 4],
]


def models(root):
    harness.save(root, "mnist", harness.ROOT / "models/mnist/model.onnx")
    harness.save(root, "calculator", calculator())
    harness.save(root, "table", table_model())
    harness.save(root, "texts", harness.identity("BYTES", ["a", "b"]))
    harness.save(root, "halves", harness.identity("FP16", ["a", 3]))
    harness.save(root, "numbers", harness.identity("INT64", ["a", "b", "c"]))
    harness.save(root, "free", harness.identity("FP32", ["a", "b", "c", "d"]))


def valid_requests():
    """(name, path, headers, body); bodies that are JSON also as a document."""
    numbers = np.random.default_rng(0).integers(0, 9, (2, 2, 3)).astype(np.int64)
    a, b = np.ones((2, 4), np.float32), np.full((2, 4), 2, np.float32)
    halves = np.ones((2, 3), np.float16)
    words = np.array([["a", "ä"], ["", "b"]], dtype=object)
    row = {"price": 1.5, "count": 3, "name": "n", "code": "c", "flag": True}
    split = {"columns": list(row), "index": [0, 1], "data": [list(row.values())] * 2}
    chosen = harness.open_inference_body({"a": a, "b": b}) | {
        "id": "7",
        "outputs": [{"name": "sum", "parameters": {"binary_data": True}}, {"name": "product"}],
        "parameters": {"binary_data_output": False},
    }
    documents = [
        ("azure data", "/numbers", {"data": numbers.tolist()}),
        ("azure data by name", "/calculator", {"data": {"a": a.tolist(), "b": b.tolist()}}),
        ("azure data, rows as objects", "/table", {"data": [row, row]}),
        ("azure data, rows as arrays", "/table", {"data": [list(row.values())]}),
        ("azure Inputs", "/table", {"Inputs": {"data": [row]}, "GlobalParameters": {}}),
        ("mlflow split", "/table", {"input_data": split}),
        ("mlflow rows", "/halves", {"input_data": halves.tolist()}),
        ("tensorflow", "/texts", {"instances": words.tolist()}),
        ("open inference flat", "/v2/models/numbers/infer", harness.open_inference_body({"x": numbers})),
        ("open inference nested", "/v2/models/texts/infer", harness.open_inference_body({"x": words}, True)),
        ("open inference with wishes", "/v2/models/calculator/infer", chosen),
    ]
    for name, path, document in documents:
        yield name, path, {"content-type": "application/json"}, json.dumps(document).encode(), document
    for name, path, inputs in (
        ("binary numbers", "/v2/models/calculator/infer", {"a": a, "b": b}),
        ("binary strings", "/v2/models/texts/infer", {"x": words}),
        ("binary halves", "/v2/models/halves/infer", {"x": halves}),
    ):
        body, headers = harness.binary_body(inputs)
        yield name, path, headers, body, None
    picture = io.BytesIO()
    Image.fromarray(np.zeros((28, 28), np.uint8)).save(picture, "PNG")
    photo = io.BytesIO()
    Image.fromarray(np.zeros((28, 28, 3), np.uint8)).save(photo, "JPEG")
    fortran = np.asfortranarray(np.ones((2, 2, 3), np.int64))
    packed = gzip.compress(json.dumps({"data": numbers.tolist()}).encode())
    for name, path, content_type, body in (
        ("npy", "/numbers", "application/x-npy", npy(numbers)),
        ("npy, columns first", "/numbers", "application/x-npy", npy(fortran)),
        ("raw bytes", "/halves", "application/octet-stream", halves.tobytes()),
        ("csv", "/table", "text/csv", b"price,count,name,code,flag\n1.5,3,\"a, b\",c,true\n2,4,x,y,false\n"),
        ("png", "/mnist", "image/png", picture.getvalue()),
        ("jpeg", "/mnist", "image/jpeg", photo.getvalue()),
        ("gzip", "/numbers", "application/json", packed),
    ):
        headers = {"content-type": content_type}
        if name == "gzip":
            headers["content-encoding"] = "gzip"
        yield name, path, headers, body, None


def damage_bytes(random, body):
    body = bytearray(body)
    for _ in range(random.choice((1, 1, 2, 5, 20))):
        place = random.randrange(len(body) + 1)
        way = random.randrange(7)
        if way == 0 and body:
            body[place % len(body)] ^= 1 << random.randrange(8)
        elif way == 1:
            del body[place:]
        elif way == 2:
            body[place:place] = random.choice(WORDS)
        elif way == 3:
            del body[place : place + random.randrange(1, 20)]
        elif way == 4:
            end = min(len(body), place + random.randrange(1, 60))
            body[place:place] = body[place:end] * random.randrange(1, 5)
        elif way == 5:
            body[place:place] = random.randbytes(random.randrange(1, 20))
        elif body:
            body[place % len(body)] = random.randrange(256)
    return bytes(body)


def places_in(document, place=()):
    yield place
    children = document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    for key, child in children:
        yield from places_in(child, (*place, key))


def damage_document(random, document):
    """The document stays JSON, with other things in some of its places."""

    def copied(value):
        return json.loads(json.dumps(value))

    document = copied(document)
    for _ in range(random.choice((1, 1, 2, 4))):
        places = [place for place in places_in(document) if place]
        if not places:
            break
        *above, last = random.choice(places)
        parent = document
        for key in above:
            parent = parent[key]
        way = random.randrange(5)
        if way == 0:
            del parent[last]
        elif way == 1 and isinstance(parent, list):
            parent.insert(last, copied(random.choice(VALUES)))
        elif way == 2 and isinstance(parent, dict):
            parent[random.choice(["data", "inputs", "instances", "x", "shape", "name", "columns", ""])] = parent.pop(last)
        elif way == 3:
            other = document
            for key in random.choice(places):
                other = other[key] if isinstance(other, (dict, list)) else other
            parent[last] = copied(other)
        else:
            parent[last] = copied(random.choice(VALUES))
    return json.dumps(document).encode()


def damage_headers(random, headers):
    headers = dict(headers)
    way = random.randrange(5)
    if way == 0:
        headers["content-type"] = random.choice(
            ["", "text/plain", "text/csv", "image/png", "image/jpeg", "application/x-npy", "application/octet-stream",
             "application/json; charset=utf-16", "x/y", "multipart/form-data", "application/xml"]
        )
    elif way == 1:
        headers["inference-header-content-length"] = random.choice(["0", "1", "17", "-1", "x", "99999999999999999999", "1e3", ""])
    elif way == 2:
        headers["content-encoding"] = random.choice(["gzip", "deflate", "br", "identity", "gzip, gzip", ""])
    elif way == 3:
        headers["accept"] = random.choice(["application/x-npy", "*/*", "text/html", "", "application/x-npy;q=0"])
    else:
        headers["cache-control"] = random.choice(["no-cache", "no-store", "max-age=0", "x"])
    return headers


@pytest.fixture(scope="module")
def handler(tmp_path_factory):
    root = tmp_path_factory.mktemp("damaged")
    models(root)
    with Handler(root, patience=10) as running:
        yield running


def test_the_requests_are_valid_before_they_are_damaged(handler):
    for name, path, headers, body, _ in valid_requests():
        answer = handler.send("POST", path, body, headers)
        assert answer.status == 200, f"{name}: {answer.body!r}"


def test_damaged_requests(handler, say):
    dice = random.Random(SEED)
    requests = list(valid_requests())
    statuses, faults = Counter(), []
    for number in range(MUTATIONS):
        name, path, headers, body, document = requests[number % len(requests)]
        if document is not None and dice.random() < 0.5:
            body = damage_document(dice, document)
        elif dice.random() < 0.9:
            body = damage_bytes(dice, body)
        if dice.random() < 0.15:
            headers = damage_headers(dice, headers)
        if dice.random() < 0.1:
            path = dice.choice(requests)[1]
        try:
            answer = handler.send("POST", path, body, headers)
        except Exception as error:
            faults.append(f"{number} {name}: {error!r}: {headers} {body[:300]!r}")
            if not handler.alive():
                break
            continue
        statuses[answer.status] += 1
        if answer.status >= 500:
            faults.append(f"{number} {name} -> {path}: {answer.status} {answer.body[:300]!r}: {headers} {body[:300]!r}")
        elif answer.status >= 400:
            error = answer.json["error"]
            told = error if isinstance(error, str) else error.get("message")
            if not told:
                faults.append(f"{number} {name}: an error without a message: {answer.body[:300]!r}")
        elif answer.headers["content-type"] == "application/json":
            answer.json
    say(f"{sum(statuses.values())} damaged requests (seed {SEED}):", ", ".join(f"{s} {n}" for s, n in sorted(statuses.items())))
    assert handler.alive(), f"the process ended:\n{handler.log()[-3000:]}"
    assert not faults, f"{len(faults)} faults:\n" + "\n".join(faults[:20])
    for name, path, headers, body, _ in requests:
        assert handler.send("POST", path, body, headers).status == 200, f"{name} is no longer answered"


def test_deep_nesting_and_long_shapes(handler):
    for depth in (17, 1_000, 200_000):
        for wrap in (b'{"data":%s}', b'{"Inputs":%s}', b'{"input_data":{"columns":[],"data":%s}}', b'{"x":%s,"data":[]}',
                     b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":%s}]}', b'{"inputs":%s}', b'{"id":%s,"inputs":[]}'):
            for nest in ((b"[" * depth + b"]" * depth), (b'{"a":' * depth + b"1" + b"}" * depth), b"[" * depth):
                answer = handler.post("/free", wrap % nest)
                assert 400 <= answer.status < 500, (depth, wrap, answer.status, answer.body[:200])
    assert handler.alive()


@pytest.mark.parametrize("bracket", ["[", "(", "{", "{'a':", "'", "\\", "1", "-", "1+"])
def test_no_header_of_an_npy_file_takes_long(tmp_path, bracket):
    """In a process of its own: a reader that tries all ways would keep it busy for ever."""
    models(tmp_path)
    with Handler(tmp_path, patience=5) as handler:
        for depth in (8, 16, 24, 200, 10_000):
            for header in (bracket * depth, "{'descr': '<i8', 'fortran_order': False, 'shape': %s" % (bracket * depth)):
                text = header.encode() + b"\n"
                body = b"\x93NUMPY\x02\x00" + len(text).to_bytes(4, "little") + text + bytes(96)
                try:
                    answer = handler.post("/numbers", body, "application/x-npy")
                except TimeoutError:
                    pytest.fail(f"no answer after 5 s to an npy header with {depth} times {bracket!r}")
                assert answer.status == 400, answer.body
        assert handler.alive()
