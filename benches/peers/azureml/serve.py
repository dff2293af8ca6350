"""Azure ML's inference server as its own command starts it, but on loopback only: serve.py PORT."""

import sys

from azureml_inference_server_http.amlserver_linux import run

WORKERS = 2

if __name__ == "__main__":
    run("127.0.0.1", int(sys.argv[1]), WORKERS)
