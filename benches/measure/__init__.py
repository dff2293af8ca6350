"""What `make bench` is made of: benches/README.md."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
# What scripts/setup-bench.sh installs, and what is made from it.
WORK = ROOT / "target/bench"


class BenchError(Exception):
    """Something that makes the figures worthless."""
