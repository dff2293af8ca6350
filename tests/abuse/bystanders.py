"""Who must not notice an attack: an ordinary client and the host's probe. Run as a process of its own: bystanders.py PORT."""

import http.client
import json
import sys
import threading
import time

PAUSE_SECONDS = 0.02
# An ordinary request has failed if its answer takes longer.
PATIENCE_SECONDS = 1.0


class Bystander(threading.Thread):
    """Asks again and again over one connection, and notes how long each answer takes."""

    def __init__(self, port, method, path, bodies):
        super().__init__(daemon=True)
        self.port, self.method, self.path, self.bodies = port, method, path, bodies
        self.times, self.failures, self.first_failure = [], 0, None
        self.stopping = threading.Event()

    def run(self):
        connection = None
        while not self.stopping.is_set():
            start = time.perf_counter()
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                headers = {"Content-Type": "application/json"}
                connection.request(self.method, self.path, next(self.bodies), headers)
                response = connection.getresponse()
                answer = response.read()
                took = time.perf_counter() - start
                # Overload is no failure if it is said at once.
                told = response.status == 503 and response.getheader("Retry-After") and took < 0.1
                if not told and (response.status != 200 or took > PATIENCE_SECONDS):
                    self.note(f"{response.status} after {took:.2f} s: {answer[:120]!r}")
            except (OSError, http.client.HTTPException) as error:
                took, connection = time.perf_counter() - start, None
                self.note(f"{type(error).__name__} after {took:.2f} s")
            self.times.append(took)
            self.stopping.wait(PAUSE_SECONDS)

    def note(self, failure):
        self.failures += 1
        self.first_failure = self.first_failure or failure


def rows():
    """Ever new rows, so that each of them is computed."""
    number = 0
    while True:
        number += 1
        yield json.dumps({"data": [[number % 251, number // 251] + [0] * 782]})


def nothing():
    while True:
        yield None


def main():
    port = int(sys.argv[1])
    client = Bystander(port, "POST", "/api/score/mnist", rows())
    probe = Bystander(port, "GET", "/", nothing())
    for bystander in (client, probe):
        bystander.start()
    print("ready", flush=True)
    sys.stdin.readline()
    for bystander in (client, probe):
        bystander.stopping.set()
    for bystander in (client, probe):
        bystander.join(10)
    times = sorted(probe.times) or [0]
    print(
        json.dumps({
            "requests": len(client.times),
            "failed": client.failures,
            "first_failure": client.first_failure,
            "probe_failures": probe.failures,
            "probe_p99_ms": 1000 * times[int(len(times) * 0.99)],
            "probe_max_ms": 1000 * times[-1],
        }),
        flush=True,
    )


if __name__ == "__main__":
    main()
