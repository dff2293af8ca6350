import signal

import pytest

# So that programs that were started are also stopped when this process is told to end.
signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture
def say(capsys):
    """Prints beside pytest's own lines, whether or not it captures."""

    def print_line(*words):
        with capsys.disabled():
            print(" ", *words, flush=True)

    with capsys.disabled():
        print()
    return print_line
