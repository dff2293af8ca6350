"""Attacks by a thousand connections: heads and bodies that hardly come, answers that are not read, requests without a pause."""

import asyncio
import contextlib
import socket

SECONDS = 8
# 9,000 rows in 126 kB.
BODY = b'{"data":[' + b",".join(b"[0.123,0.456]" for _ in range(9000)) + b"]}"


def request(target, body=BODY, length=None):
    """A request; one that announces more bytes than it has is never complete."""
    lines = (
        "POST /api/score/identity HTTP/1.1",
        f"Host: 127.0.0.1:{target.port}",
        "Content-Type: application/json",
        f"Content-Length: {length or len(body)}",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


async def connected(target, receive_bytes=None):
    """A connection, perhaps one that takes little of what it is sent."""
    connection = socket.socket()
    if receive_bytes:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", target.port))
    return connection


async def again_and_again(attack):
    """What the server closes is opened again."""
    while True:
        with contextlib.suppress(OSError):
            await attack()
        await asyncio.sleep(0.05)


def crowd(attack, count):
    """Runs so many of an attack at once, each again as soon as it ends."""
    async def run():
        tasks = [asyncio.create_task(again_and_again(attack)) for _ in range(count)]
        await asyncio.sleep(SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())


async def dripping(target, start):
    """Sends this, and then a byte each second."""
    loop = asyncio.get_running_loop()
    with await connected(target) as connection:
        await loop.sock_sendall(connection, start)
        while True:
            await asyncio.sleep(1)
            await loop.sock_sendall(connection, b"1")


def slow_heads(target, size):
    start = b"POST /api/score HTTP/1.1\r\nHost: local"
    crowd(lambda: dripping(target, start), 500 * size)


def slow_bodies(target, size):
    start = request(target, b'{"data":[[', length=32 << 20)
    crowd(lambda: dripping(target, start), 500 * size)


def stalled_bodies(target, size):
    """Bodies that stop when they have taken much of the room there is."""
    start = request(target, b'{"data":[[' + b"1," * (2 << 20), length=32 << 20)
    crowd(lambda: dripping(target, start), 32 * size)


async def asking(target, body, reads, receive_bytes=None, pauses=0):
    """Sends one request behind the other, whether they are answered or not."""
    loop, text = asyncio.get_running_loop(), request(target, body)

    async def read(connection):
        while await loop.sock_recv(connection, 1 << 18):
            await asyncio.sleep(pauses)

    with await connected(target, receive_bytes) as connection:
        reading = asyncio.create_task(read(connection)) if reads else None
        try:
            while not (reading and reading.done()):
                await loop.sock_sendall(connection, text)
        finally:
            if reading:
                reading.cancel()


def unread_pipelines(target, size):
    crowd(lambda: asking(target, BODY, reads=False, receive_bytes=4096), 500 * size)


def hardly_read_answers(target, size):
    crowd(lambda: asking(target, BODY, reads=True, receive_bytes=4096, pauses=1), 500 * size)


def pipelines(target, size):
    crowd(lambda: asking(target, BODY, reads=True), 500 * size)


def small_pipelines(target, size):
    crowd(lambda: asking(target, b'{"data":[[0.1,0.2]]}', reads=True), 500 * size)


async def idling(target):
    """Asks once and stays."""
    loop = asyncio.get_running_loop()
    with await connected(target) as connection:
        await loop.sock_sendall(connection, b"GET /api/health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        while await loop.sock_recv(connection, 1000):
            pass


def idle_connections(target, size):
    crowd(lambda: idling(target), 500 * size)


async def passing(target):
    with await connected(target):
        pass


def churn(target, size):
    async def many():
        for _ in range(100):
            await passing(target)
    crowd(many, 50 * size)
