"""The Python in docs/cache.md reads the entry in docs/cache.md."""

import re
from pathlib import Path

import pytest

DOCUMENT = (Path(__file__).parents[2] / "docs/cache.md").read_text()


def block(words):
    return re.search(rf"^```{words}\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE)[1]


def test_the_reader_reads_the_example_and_nothing_damaged():
    document = {}
    exec(block("python"), document)
    key = block("text").strip()
    entry = bytes.fromhex("".join(line.split("|")[0] for line in block("hex entry").splitlines()))
    outputs = document["read_entry"](key, entry)
    assert outputs == [((), ["café"]), ((2,), [0.25, 0.75])]
    for damaged in (entry[:-1], b"", entry[:20] + b"\x07" + entry[21:]):
        with pytest.raises(ValueError):
            document["read_entry"](key, damaged)
