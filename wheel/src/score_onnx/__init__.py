"""Starts the program `score-onnx`, with the library of the package onnxruntime."""

import errno
import os
import sys
from importlib.util import find_spec
from pathlib import Path

PROGRAM = Path(__file__).with_name("handler")

# What the system says of a program that it cannot start, and what to do.
CAUSES = {
    errno.ENOENT: "this system has no glibc (Alpine has musl): use an image with glibc, such as debian or python:slim",
    errno.ENOEXEC: "it is built for another processor or system: install the wheel of this one",
    errno.EACCES: "it may not be executed: its file needs mode 755, on a file system that is not mounted noexec",
}


def library():
    """The shared library of ONNX Runtime, without importing the package; None if there is none."""
    package = find_spec("onnxruntime")
    places = [Path(place, "capi") for place in (package and package.submodule_search_locations) or ()]
    # Where conda has it.
    places.append(Path(sys.prefix, "lib"))
    for place in places:
        for pattern in ("libonnxruntime.so*", "libonnxruntime*.dylib"):
            found = [file for file in sorted(place.glob(pattern)) if "providers" not in file.name]
            if found:
                return found[0]
    return None


def main():
    """Becomes the program: signals, exit codes and the process id are its own."""
    if not os.environ.get("ORT_DYLIB_PATH"):
        found = library()
        if found:
            os.environ["ORT_DYLIB_PATH"] = str(found)
        else:
            print("warning: models need ONNX Runtime: pip install 'onnxruntime>=1.24'", file=sys.stderr)
    try:
        os.execv(PROGRAM, ["score-onnx", *sys.argv[1:]])
    except OSError as error:
        cause = CAUSES.get(error.errno, error.strerror)
        sys.exit(f"error: {PROGRAM} cannot be started: {cause}")
