"""The results of compare.py as a chart."""

from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter
from report import OURS, columns, median

# One color-blind safe color per engine: Okabe and Ito, 2008.
COLORS = {
    "this project": "#D55E00",
    "picoGPT's algorithm": "#E69F00",
    "bare matrix products": "#777777",
    "transformers": "#0072B2",
    "CTranslate2": "#009E73",
    "llama.cpp": "#CC79A7",
}
LINES = {"float32": "-", "float16": "--", "bfloat16": "--", "int8": ":", "q8_0": ":"}
PANELS = {  # measure -> title, label of the x axis
    "decode": ("tokens decoded per second", "tokens in the prompt"),
    "prompt": ("milliseconds to the first token", "tokens in the prompt"),
    "batch": ("tokens per second, all texts", "texts in the batch"),
}


def draw_lines(panel, results, measure):
    """Draw a line per engine."""
    title, label = PANELS[measure]
    numbers = columns(results, measure)
    for name, samples in results["samples"].items():
        engine, _, precision = name.rpartition(" ")
        if measure not in samples:
            continue
        style = {"color": COLORS[engine], "linestyle": LINES[precision], "label": name}
        style |= {"linewidth": 3.5, "markersize": 8, "zorder": 3} if name == OURS else {"markersize": 4}
        values = [median(results, name, measure, n) for n in numbers]
        panel.plot([int(n) for n in numbers], values, marker="o", **style)
    panel.set(title=title, xlabel=label, yscale="log")
    if measure == "batch":
        panel.set_xscale("log", base=2)
    panel.set_xticks([int(n) for n in numbers], numbers)
    panel.yaxis.set_major_formatter("{x:g}")
    panel.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))  # labels if there is room
    panel.grid(alpha=0.3)


def draw_starts(panel, results):
    """Draw a bar per engine: the seconds from its start to the first token, and its peak memory."""
    names = [name for name, samples in results["samples"].items() if "start" in samples]
    n_seq = columns(results, "start")[0]
    seconds = [median(results, name, "start", n_seq) for name in names]
    memory = [f" {median(results, name, 'memory', n_seq):.0f} MB" for name in names]
    bars = panel.barh(names, seconds, color=[COLORS[name.rpartition(" ")[0]] for name in names])
    panel.bar_label(bars, memory)
    panel.set(title="seconds to the first token of a process; MB")
    panel.margins(x=0.2)
    panel.invert_yaxis()


def draw(results, path):
    """Draw decoding, prompts, batches and starts of all engines."""
    figure = Figure(figsize=(10, 9), layout="constrained")
    panels = figure.subplots(2, 2)
    for panel, measure in zip(panels.flat, PANELS, strict=False):
        draw_lines(panel, results, measure)
    draw_starts(panels[1, 1], results)
    for panel in panels.flat:
        panel.spines[["top", "right"]].set_visible(False)
    lines, names = panels[0, 0].get_legend_handles_labels()
    legend = figure.legend(lines, names, loc="outside lower center", ncols=3, frameon=False)
    legend.get_texts()[names.index(OURS)].set_weight("bold")
    figure.savefig(path, dpi=150)
