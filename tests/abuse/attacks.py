"""What hostile callers, senders of messages, authors of models and a hostile Redis do.

Each attack takes the running program and a size: 1 as it was first reported, 2 for twice that. What it sends must be
refused or answered; what comes back does not matter here, only what becomes of the program and of others.
"""

import base64
import contextlib
import gzip
import json
import socket
import struct
import threading
import time
import zlib
from dataclasses import dataclass, field
from typing import Callable

import connections

ROW = "[" + ",".join("0" for _ in range(784)) + "]"


@dataclass(frozen=True)
class Attack:
    """One kind of attack, with the settings that it needs beside the default ones."""

    name: str
    run: Callable
    env: dict = field(default_factory=dict)
    # A server that the program is told to use as its Redis: takes each connection.
    redis: Callable | None = None
    # Whether nothing reads what the program writes to standard output.
    is_mute: bool = False
    # Whether it is left out of the short form: attacks of connections take long, and one of each kind is enough.
    is_long: bool = False


def head(target, path, *more, kind="application/json"):
    lines = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{target.port}", f"Content-Type: {kind}", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def send(target, text, read=True):
    """Sends one request; the first bytes of its answer."""
    with contextlib.suppress(OSError), target.connect(timeout=30) as connection:
        connection.sendall(text)
        return connection.recv(200) if read else b""
    return b""


def post(target, path, body, kind="application/json", read=True):
    start = head(target, path, "Connection: close", f"Content-Length: {len(body)}", kind=kind)
    return send(target, start + body, read)


def invoke(target, function, body):
    """An envelope, in chunks as the host sends it."""
    start = head(target, f"/{function}", "Connection: close", "Transfer-Encoding: chunked")
    return send(target, start + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))


def at_once(count, work):
    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)


def zeros(count):
    return b"[" + b"0," * (count - 1) + b"0]"


def json_columns(target, size):
    """33 kB of gzip that hold a row and 16 million names of columns."""
    body = b'{"input_data":{"data":[' + ROW.encode() + b'],"columns":' + zeros((16 << 20) - 2000) + b"}}"
    packed = gzip.compress(body, 9)
    at_once(size, lambda _: post(target, "/api/score", packed))


def json_parameters(target, size):
    body = b'{"inputs":[],"parameters":{"a":' + zeros((16 << 20) - 100) + b"}}"
    at_once(size, lambda _: post(target, "/api/score", gzip.compress(body, 9)))


def message_parameters(target, size):
    body = gzip.compress(b'{"inputs":[],"parameters":{"a":' + zeros((16 << 20) - 100) + b"}}", 9)
    text = json.dumps([base64.b64encode(body).decode()])
    envelope = json.dumps({"Data": {"message": text}, "Metadata": {}}).encode()
    at_once(size, lambda _: invoke(target, "score_queue", envelope))


def packed_swarm(target, size):
    """64 bodies of 33 kB that unpack to 32 MiB of numbers."""
    body = gzip.compress(b'{"data":[' + zeros(target.body_bytes // 2 - 100) + b"]}", 9)
    at_once(64 * size, lambda _: post(target, "/api/score/identity", body))


def plain_swarm(target, size):
    body = b'{"data":[' + zeros(target.body_bytes // 2 - 100) + b"]}"
    at_once(8 * size, lambda _: post(target, "/api/score/identity", body))


def hold_open(target, count, text, seconds):
    """Connections that send this and then nothing."""
    held = []
    try:
        for _ in range(count):
            with contextlib.suppress(OSError):
                connection = target.connect()
                held.append(connection)
                connection.sendall(text)
        time.sleep(seconds)
    finally:
        for connection in held:
            connection.close()


def announced_bodies(target, size):
    hold_open(target, 8 * size, head(target, "/api/score", f"Content-Length: {target.body_bytes}"), 8)


def announced_messages(target, size):
    text = head(target, "/score_queue", "Transfer-Encoding: chunked") + b'10\r\n{"Data":{"messag\r\n'
    hold_open(target, 8 * size, text, 8)


def idle_connections(target, size):
    hold_open(target, 500 * size, b"POST /api/score HTTP/1.1\r\nHost: local", 5)


def unread_answers(target, size):
    """Requests with large answers that nothing reads."""
    body = b'{"data":[' + b",".join(b"[0.123,0.456]" for _ in range(9000)) + b"]}"
    request = head(target, "/api/score/identity", f"Content-Length: {len(body)}") + body
    held = []
    for _ in range(100 * size):
        with contextlib.suppress(OSError):
            connection = target.connect()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(0.5)
            held.append(connection)
            connection.sendall(request * 4)
    time.sleep(3)
    for connection in held:
        connection.close()


def gone_callers(target, size):
    """Large tables whose senders go away before they are answered."""
    table = b"a,b\n" + b"1.5,2.5\n" * ((target.body_bytes - 4) // 8)
    at_once(16 * size, lambda _: post(target, "/api/score/identity", table, "text/csv", read=False))
    time.sleep(3)


def png(side):
    """A black square, small because it is all the same."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    line = bytes(1 + side * 3)
    rows = b"".join(packer.compress(line) for _ in range(side)) + packer.flush()
    start = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", start) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def large_pictures(target, size):
    body = png(4700)
    at_once(4 * size, lambda _: post(target, "/api/score/pixels", body, "image/png"))


def http_envelope(target, size):
    """An envelope whose body and headers are arrays."""
    body = b'{"Data":{"req":{"Url":"http://x/api/score","Method":"POST","Headers":' + zeros(8 << 20)
    body += b',"Body":' + zeros(8 << 20) + b'}},"Metadata":{}}'
    at_once(2 * size, lambda _: invoke(target, "score_http", body))


def odd_targets(target, size):
    for first in ("CONNECT example.org:443", "OPTIONS *", "GET http://example.org/", "POST *", "CONNECT /"):
        for _ in range(20 * size):
            with contextlib.suppress(OSError), target.connect() as connection:
                connection.sendall(f"{first} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                connection.recv(100)


def deep_nesting(target, size):
    for opening in (b"[", b'{"data":', b'{"inputs":[{"data":'):
        at_once(4 * size, lambda _, opening=opening: post(target, "/api/score", opening * ((4 << 20) // len(opening))))


def many_messages(target, size):
    """A batch of a million empty messages, and metadata that is one long list."""
    messages = json.dumps("[" + ",".join(['""'] * (1 << 20)) + "]").encode()
    body = b'{"Data":{"message":' + messages + b'},"Metadata":{"MessageIdArray":' + zeros(1 << 18) + b"}}"
    at_once(size, lambda _: invoke(target, "score_queue", body))


def busy_with_logs(target, size):
    """Requests that are logged while nothing reads the log."""
    until = time.monotonic() + 10 * size
    while time.monotonic() < until:
        with contextlib.suppress(OSError), target.connect(timeout=1) as connection:
            body = b'{"data":[[1]]}'
            connection.sendall(head(target, "/api/score", f"Content-Length: {len(body)}") + body)
            connection.recv(200)


def some_requests(target, size):
    """Ordinary requests, whose look-ups a hostile Redis answers."""
    for number in range(100 * size):
        post(target, "/api/score/mnist", b'{"data":[[%d%s]]}' % (number % 255, b",0" * 783))
        time.sleep(0.02)


def answering(reply):
    """A Redis that greets as it should and answers every look-up with this."""
    def serve(connection):
        with contextlib.suppress(OSError):
            while text := connection.recv(1 << 16):
                upper = text.upper()
                if b"GET" in upper and b"\r\nSCORE" in upper.replace(b"PROBE", b""):
                    reply(connection)
                elif b"HELLO" in upper:
                    connection.sendall(b"-ERR unknown command 'HELLO'\r\n")
                elif b"MGET" in upper:
                    connection.sendall(b"*3\r\n$-1\r\n$-1\r\n$-1\r\n")
                elif b"GET" in upper:
                    connection.sendall(b"$-1\r\n")
                else:
                    connection.sendall(b"+OK\r\n" * max(1, text.count(b"*")))
    return serve


def nested_reply(connection):
    connection.sendall(b"*1\r\n" * 1000)


def huge_reply(connection):
    connection.sendall(b"$314572800\r\n")
    for _ in range(300):
        connection.sendall(bytes(1 << 20))


def listening(serve):
    """Starts such a server; its URL."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept():
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return f"redis://127.0.0.1:{listener.getsockname()[1]}"


ATTACKS = [
    Attack("names of columns, packed", json_columns),
    Attack("parameters, packed", json_parameters, is_long=True),
    Attack("parameters in a message", message_parameters),
    Attack("64 packed bodies at once", packed_swarm),
    Attack("8 bodies of 32 MiB at once", plain_swarm),
    Attack("8 bodies that never come", announced_bodies, is_long=True),
    Attack("8 messages that never come", announced_messages),
    Attack("500 heads that never end", idle_connections, is_long=True),
    Attack("answers that are not read", unread_answers),
    Attack("callers that go away", gone_callers),
    Attack("pictures of 4,700 x 4,700", large_pictures),
    Attack("envelopes of arrays", http_envelope),
    Attack("CONNECT, * and authorities", odd_targets),
    Attack("nested JSON", deep_nesting),
    Attack("a million empty messages", many_messages),
    Attack("standard output is not read", busy_with_logs, {"SCORE_LOG_FILTER": "debug"}, is_mute=True, is_long=True),
    Attack("heads that hardly come", connections.slow_heads, is_long=True),
    Attack("bodies that hardly come", connections.slow_bodies, is_long=True),
    Attack("bodies that stop half-way", connections.stalled_bodies),
    Attack("pipelines without a reader", connections.unread_pipelines, is_long=True),
    Attack("answers that are hardly read", connections.hardly_read_answers, is_long=True),
    Attack("pipelines of 126 kB", connections.pipelines, is_long=True),
    Attack("pipelines of one row", connections.small_pipelines, is_long=True),
    Attack("idle connections", connections.idle_connections, is_long=True),
    Attack("connections that come and go", connections.churn, is_long=True),
    Attack("Redis nests its replies", some_requests, redis=answering(nested_reply)),
    Attack("Redis answers 300 MiB", some_requests, redis=answering(huge_reply)),
]
