"""What becomes of the figures: medians, a table."""

import statistics

from .scenarios import SCENARIOS


def summarize(cells, rounds):
    """Cells: medians over the rounds; only counts and the longest time are of all rounds together."""
    summary = []
    for cell in cells:
        runs = [figures[cell.key] for figures in rounds if cell.key in figures]
        title, who, concurrency = cell.key
        named = {"scenario": title, "server": who, "concurrency": concurrency}
        if not runs:
            summary.append({**named, "missing": True})
            continue
        median = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        median["requests"] = sum(run["requests"] for run in runs)
        median["failures"] = sum(run["failures"] for run in runs)
        median["max_ms"] = max(run["max_ms"] for run in runs)
        summary.append({**named, "rows": cell.scenario.rows, **median, "rounds": runs})
    return summary


def show(result, scenarios=SCENARIOS):
    machine = result["machine"]
    print(
        f"{machine['cores']} cores ({machine['processor']}), load {machine['load_at_start']:.1f} at the start, "
        f"{machine['stolen_percent']:.1f} % of the CPU time taken by the machine's host"
    )
    show_cells(result["cells"], scenarios)
    if result["start"]:
        print(f"\n{'start (medians)':<40}{'GET / ms':>11}{'score ms':>11}{'RSS MiB':>11}{'anon. MiB':>11}")
    for who, start in result["start"].items():
        names = ("alive_ms", "scored_ms", "rss_mib", "anonymous_mib")
        print(f"{who:<40}" + "".join(f"{start[name]:>11.1f}" for name in names))
    for model, seconds in result["run_seconds"].items():
        print(f"one run of {model}, one row, one core: {seconds * 1e6:.1f} us")
    if result["targets"]:
        print(f"\n{'target':<72}{'bound':>9}{'median':>9}{'middle half':>16}")
    for target in result["targets"]:
        line = f"{target['target']:<72}{target['bound']:>9}"
        if "median" not in target:
            print(f"{line}  not there: this build refuses the setting")
            continue
        verdict = "reached" if target["reached"] else "MISSED"
        print(f"{line}{target['median']:>9.2f}{span(target):>16}  {verdict}")
    if result["compared"]:
        print(f"\n{'score to other (median, middle half)':<40}{'req/s':>20}{'p50':>20}{'CPU':>20}")
    for row in result["compared"]:
        ratios = (row[figure] for figure in ("requests_per_second", "p50_ms", "cpu_us"))
        texts = (f"{ratio['median']:.2f} {'(' + span(ratio) + ')':>12}" for ratio in ratios)
        print(f"{row['scenario']:<36}{row['concurrency']:>4}" + "".join(f"{text:>20}" for text in texts))


def span(ratio):
    return f"{ratio['low']:.2f}-{ratio['high']:.2f}"


def show_cells(cells, scenarios):
    columns = ["req/s", "p50 ms", "p99 ms", "max ms", "CPU us", "client us"]
    print(f"\n{'scenario':<36}{'c':>4}  {'server':<9}" + "".join(f"{column:>11}" for column in columns))
    order = [scenario.title for scenario in scenarios]
    last = None
    for cell in sorted(cells, key=lambda cell: (order.index(cell["scenario"]), cell["concurrency"])):
        row = cell["scenario"], cell["concurrency"]
        label = f"{row[0]:<36}{row[1]:>4}" if row != last else " " * 40
        last = row
        print(f"{label}  {cell['server']:<9}" + figures_of(cell))


def figures_of(cell):
    if cell.get("missing"):
        return "  not there: the server refuses the setting"
    values = [
        f"{cell['requests_per_second']:.0f}",
        *(f"{cell[name]:.3f}" for name in ("p50_ms", "p99_ms")),
        *(f"{cell[name]:.1f}" for name in ("max_ms", "cpu_us", "client_cpu_us")),
    ]
    return "".join(f"{value:>11}" for value in values)


def memory_by_kind(rounds):
    """Resident and anonymous MiB of each server at the end of each round."""
    by_kind = {}
    for one in rounds:
        for kind, figures in one.memory.items():
            by_kind.setdefault(kind, []).append(figures)
    return by_kind


def run_seconds(rounds):
    """Seconds of one run by model, medians over the rounds."""
    models = rounds[0].run_seconds if rounds else ()
    return {model: statistics.median(one.run_seconds[model] for one in rounds) for model in models}
