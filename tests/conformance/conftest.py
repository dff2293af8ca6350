import pytest


@pytest.fixture
def say(capsys):
    """Prints beside pytest's own lines, whether or not it captures."""

    def print_line(*words):
        with capsys.disabled():
            print(" ", *words, flush=True)

    with capsys.disabled():
        print()
    return print_line
