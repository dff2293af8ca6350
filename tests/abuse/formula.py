"""The memory formula of docs/settings.md against measured peaks, for three settings."""

import sys

import attacks
import memory

MIB = 1 << 20
# What the program, the small models of these attacks and the heaps of its threads take.
BASE_MIB = 112
# What the allocator keeps of memory that was given back.
KEPT = 1.4

SETTINGS = {
    "small": {"SCORE_MAX_BODY_BYTES": 4 * MIB, "SCORE_MAX_WAITING_BYTES": 32 * MIB, "SCORE_L1_BYTES": 8 * MIB},
    "default": {"SCORE_MAX_BODY_BYTES": 32 * MIB, "SCORE_MAX_WAITING_BYTES": 256 * MIB, "SCORE_L1_BYTES": 64 * MIB},
    "large": {"SCORE_MAX_BODY_BYTES": 64 * MIB, "SCORE_MAX_WAITING_BYTES": 512 * MIB, "SCORE_L1_BYTES": 256 * MIB},
}
NAMES = (
    "64 packed bodies at once",
    "8 bodies of 32 MiB at once",
    "200 requests of 10,000 rows",
    "empty texts",
    "pictures of free size",
    "blobs that are rejected",
    "messages that are rejected",
    "results that are remembered",
)


def most_mib(settings):
    bodies, waiting = settings["SCORE_MAX_BODY_BYTES"], settings["SCORE_MAX_WAITING_BYTES"]
    become = max(waiting, 8 * bodies)
    return BASE_MIB + (KEPT * (waiting + become) + KEPT * settings["SCORE_L1_BYTES"]) / MIB


def compare(run, only):
    """Prints the peak of each attack under each setting; ends with an error if one is above the formula."""
    chosen = [attack for attack in attacks.ATTACKS + memory.ATTACKS if attack.name in NAMES and only in attack.name]
    exceeded = 0
    print(f"{'settings':<10}{'formula MiB':>12}  " + "  ".join(attack.name for attack in chosen), flush=True)
    for name, settings in SETTINGS.items():
        most = most_mib(settings)
        env = {key: str(value) for key, value in settings.items()}
        found = [run(attack, 2, env) for attack in chosen]
        exceeded += sum(one["peak_mib"] > most or one["ended"] is not None for one in found)
        peaks = "  ".join(f"{one['peak_mib']:>{len(attack.name)}.0f}" for one, attack in zip(found, chosen))
        print(f"{name:<10}{most:>12.0f}  {peaks}", flush=True)
    if exceeded:
        sys.exit(f"error: {exceeded} peaks are above the formula")
