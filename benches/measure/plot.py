"""The picture of the figures."""

from math import floor, log10

import matplotlib

from .kinds import AZUREML, LIMIT_NAME, NODE, OURS

# Middling colours on no background: readable on a light page and on a dark one.
TEXT, GRID = "#848d97", "#848d9740"
BARS = {
    OURS: ("score", "#d9622b"),
    LIMIT_NAME: ("the least it could cost", "#8b949e"),
    NODE: ("Node: fastify, onnxruntime-node, ioredis", "#3f8f4f"),
    AZUREML: ("Azure ML's inference server, redis-py", "#3b82c4"),
}
GROUPS = [
    ("1 row, L1 hit", 32, "1 row,\nin the process"),
    ("1 row, Redis hit", 32, "1 row,\nin Redis"),
    ("1 row, miss", 32, "1 row,\nunknown"),
    ("1 row, no cache", 32, "1 row,\nno cache"),
    ("MLP, 1 row, miss", 32, "MLP, 1 row,\nunknown"),
    ("convnet, 1 row, miss", 32, "convnet, 1 row,\nunknown"),
    ("convnet, 1 row, Redis hit", 32, "convnet, 1 row,\nin Redis"),
    ("64 rows, all hits", 8, "64 rows,\nin Redis"),
    ("64 rows, no hit", 8, "64 rows,\nunknown"),
]
PANELS = [
    ("requests per second, many connections: longer is better", "requests_per_second"),
    ("CPU microseconds per request on the server: shorter is better", "cpu_us"),
]
SETTINGS = {
    "font.family": ["sans-serif"],
    "font.size": 9,
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "axes.edgecolor": GRID,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
    # Text stays text, and the same figures give the same file.
    "svg.fonttype": "none",
    "svg.hashsalt": "score",
}


def draw(result, path):
    matplotlib.use("svg")
    from matplotlib import pyplot

    measured = [cell for cell in result["cells"] if "missing" not in cell]
    cells = {(cell["scenario"], cell["server"], cell["concurrency"]): cell for cell in measured}
    with matplotlib.rc_context(SETTINGS):
        figure, axes = pyplot.subplots(len(PANELS), 1, figsize=(10, 7.5), layout="constrained")
        for panel, (title, name) in zip(axes, PANELS):
            draw_panel(panel, cells, name)
            panel.set_title(title, loc="left", fontsize=10)
        axes[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.12), ncols=len(BARS), frameon=False)
        figure.savefig(path, transparent=True, metadata={"Date": None, "Creator": None})
        pyplot.close(figure)


def draw_panel(panel, cells, name):
    width = 0.8 / len(BARS)
    lowest = min(
        cells[title, server, concurrency][name]
        for title, concurrency, _ in GROUPS
        for server in BARS
        if (title, server, concurrency) in cells
    )
    for place, (server, (label, colour)) in enumerate(BARS.items()):
        found = [
            (group, cells[title, server, concurrency][name])
            for group, (title, concurrency, _) in enumerate(GROUPS)
            if (title, server, concurrency) in cells
        ]
        left = [group + (place - (len(BARS) - 1) / 2) * width for group, _ in found]
        bars = panel.bar(left, [value for _, value in found], width * 0.92, label=label, color=colour)
        panel.bar_label(bars, [short(value) for _, value in found], fontsize=6.5, color=TEXT, padding=1)
    panel.set_yscale("log")
    panel.margins(x=0.01, y=0.1)
    # A whole power of ten, so that lengths can be compared between pictures, with some length for the shortest.
    panel.set_ylim(bottom=10 ** floor(log10(lowest / 2)))
    panel.set_xticks(range(len(GROUPS)), [label for *_, label in GROUPS], fontsize=8)
    panel.tick_params(length=0)
    panel.tick_params(which="minor", length=0)
    panel.grid(axis="y", color=GRID, linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")


def short(value):
    """A number of three or four characters."""
    if value >= 9_950:
        return f"{value / 1000:.0f}k"
    return f"{value / 1000:.1f}k" if value >= 995 else f"{value:.0f}"
