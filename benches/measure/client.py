"""The client: many connections, one request at a time on each, every answer checked."""

import contextlib
import re
import select
import signal
import socket
import time
from array import array

from . import BenchError
from .processes import SIGNALS

# A model of texts may take many seconds for one request.
STALL_SECONDS = 60
WARM_UP_SECONDS = 0.15
# The end of a header as all servers here write it.
CLOSES = b"onnection: close\r\n"


def connect(port):
    connection = socket.create_connection(("127.0.0.1", port), timeout=STALL_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    return connection


def whole(answer):
    """Whether these bytes are a whole answer."""
    head, found, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    if found and not length:
        raise BenchError(f"an answer without Content-Length: {head!r}")
    return bool(found) and len(body) >= int(length[1])


def ask(connection, request):
    """One request at leisure."""
    connection.sendall(request)
    answer = b""
    while not whole(answer):
        more = connection.recv(1 << 16)
        if not more:
            raise BenchError("the server closed the connection")
        answer += more
    return answer


class Load:
    """Keeps every connection busy with one request at a time and checks each answer.

    `cache` is what the answers must say of the cache, `None` if the server says nothing of it.
    """

    def __init__(self, port, connections, requests, stamp, cache, numbers):
        self.port, self.requests, self.stamp, self.numbers = port, requests, stamp, numbers
        self.cache = cache or b""
        self.turn = 0
        self.epoll = select.epoll()
        self.sockets = {}
        self.connections = connections
        for _ in range(connections):
            self.open()

    def open(self):
        connection = connect(self.port)
        connection.setblocking(False)
        self.sockets[connection.fileno()] = connection
        self.epoll.register(connection.fileno(), select.EPOLLIN)
        return connection.fileno()

    def close(self, fd):
        self.epoll.unregister(fd)
        self.sockets.pop(fd).close()

    def run(self, seconds):
        """Latencies in seconds, failures, and how long it took."""
        latencies, failures = array("d"), []
        unsent, expected, received, since = {}, {}, {}, {}
        clock, requests, cache, stamp = time.perf_counter, self.requests, self.cache, self.stamp

        def send(fd):
            """The next request, on a new connection if the server has closed this one."""
            request = requests[self.turn % len(requests)]
            self.turn += 1
            begin = clock()
            if fd is None:
                fd = self.open()
            pieces, expected[fd] = request.pieces, request.answer_end
            data = stamp(next(self.numbers)).join(pieces) if len(pieces) > 1 else pieces[0]
            received[fd] = b""
            since[fd] = begin
            push(fd, data)

        def push(fd, data):
            sent = self.sockets[fd].send(data)
            if sent < len(data):
                unsent[fd] = memoryview(data)[sent:]
                self.epoll.modify(fd, select.EPOLLIN | select.EPOLLOUT)

        start = clock()
        end = start + seconds
        waiting = self.connections
        for fd in [*self.sockets, *[None] * (waiting - len(self.sockets))]:
            send(fd)
        while waiting:
            events = self.epoll.poll(STALL_SECONDS)
            if not events:
                raise BenchError(f"{waiting} requests had no answer within {STALL_SECONDS} s")
            for fd, event in events:
                if event & select.EPOLLOUT and fd in unsent:
                    self.epoll.modify(fd, select.EPOLLIN)
                    with contextlib.suppress(BlockingIOError):
                        push(fd, unsent.pop(fd))
                if not event & ~select.EPOLLOUT:
                    continue
                more = self.sockets[fd].recv(1 << 16)
                if not more:
                    raise BenchError("the server closed a connection")
                answer = received[fd] + more
                good = answer.startswith(b"HTTP/1.1 200 ") and cache in answer and answer.endswith(expected[fd])
                if not good and not whole(answer):
                    received[fd] = answer
                    continue
                now = clock()
                latencies.append(now - since[fd])
                if not good:
                    failures.append(answer.decode(errors="replace"))
                if CLOSES in answer:
                    # At once, because such a server waits for that.
                    self.close(fd)
                    fd = None
                if now < end:
                    send(fd)
                else:
                    waiting -= 1
        return latencies, failures, clock() - start


def client(pipe, seconds, load):
    """A client process: warms up, says so, waits for the word, works, reports. `load` are the arguments of a Load."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
    try:
        load = Load(*load)
        _, failures, _ = load.run(WARM_UP_SECONDS)
        pipe.send(None)
        pipe.recv()
        cpu = time.process_time()
        latencies, more, elapsed = load.run(seconds)
        failures += more
        pipe.send((latencies, len(failures), failures[:1], elapsed, time.process_time() - cpu))
    except (BenchError, OSError) as error:
        pipe.send(f"{type(error).__name__}: {error}")
