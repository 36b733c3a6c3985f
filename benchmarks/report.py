"""The results of compare.py as tables in Markdown."""

import numpy as np

OURS = "this project float32"
OUR_TOKENIZER = "this project"
MEASURES = {  # name in compare.json -> what the number counts, the format of a figure, whether more is better
    "decode": ("tokens/s decoded after {} tokens", ".1f", True),
    "prompt": ("ms for a prompt of {} tokens", ".0f", False),
    "batch": ("tokens/s in total for {} texts in a batch", ".1f", True),
    "start": ("s from the start of a process to its first token", ".2f", False),
    "memory": ("MB of memory in that process, at the peak", ".0f", False),
    "tokenizer": ("MB/s of text to ids", ".2f", True),
}


def median(results, name, measure, n):
    """The median of the rounds; nan if there is no figure."""
    figures = results["samples"].get(name, {}).get(measure, {}).get(n)
    return float(np.median(figures)) if figures else np.nan


def columns(results, measure):
    """The numbers of tokens or texts that a measure has figures for, as text, in order."""
    found = {n for measures in results["samples"].values() for n in measures.get(measure, {})}
    return sorted(found, key=int)


def show(figure, measure):
    """A figure as text."""
    return "–" if np.isnan(figure) else format(figure, MEASURES[measure][1])


def table(header, rows, n_texts):
    """A table in Markdown: lines. The first n_texts columns are text, the others numbers."""
    lines = [header, ["---"] * n_texts + ["--:"] * (len(header) - n_texts), *rows]
    return [f"| {' | '.join(line)} |" for line in lines] + [""]


def engine_table(results, header, measures):
    """A row per engine, and a column per number of tokens or texts of the measures."""
    places = [(measure, n) for measure in measures for n in columns(results, measure)]
    rows = []
    for name, samples in results["samples"].items():
        if samples.keys() & set(measures):
            cells = [show(median(results, name, *place), place[0]) for place in places]
            rows.append([*name.rsplit(" ", 1), *cells])
    return table(["engine", "precision", *header], rows, n_texts=2)


def tokenizer_table(results):
    names = [name for name, samples in results["samples"].items() if "tokenizer" in samples]
    rows = [[name, show(median(results, name, "tokenizer", "1"), "tokenizer")] for name in names]
    return table(["tokenizer", "MB/s"], rows, n_texts=1)


def compare_with_best(results, measure, n):
    """Compare this project with the best of the other engines in float32, or of the other tokenizers.

    Returns a row of the table below. None if a figure is missing.
    """
    text, _, more_is_better = MEASURES[measure]
    ours = OUR_TOKENIZER if measure == "tokenizer" else OURS
    models = [name for name in results["agreement"] if name.endswith(" float32")]
    names = results["samples"] if measure == "tokenizer" else models
    figures = {name: median(results, name, measure, n) for name in [ours, *names]}
    figures = {name: figure for name, figure in figures.items() if not np.isnan(figure)}
    our_figure = figures.pop(ours, None)
    if our_figure is None or not figures:
        return None
    best = (max if more_is_better else min)(figures, key=figures.get)
    ratio = our_figure / figures[best] if more_is_better else figures[best] / our_figure
    is_first = "yes" if ratio >= 1 else "no"
    numbers = [show(our_figure, measure), show(figures[best], measure), f"{ratio:.2f}"]
    return [text.format(n), is_first, best.removesuffix(" float32"), *numbers]


def comparison_table(results):
    """A row per figure of this project. A batch of one is left out: it is the text of 10 tokens."""
    places = [(measure, n) for measure in MEASURES for n in columns(results, measure)]
    rows = [compare_with_best(results, *place) for place in places if place != ("batch", "1")]
    rows = [row for row in rows if row]
    n_first = sum(row[1] == "yes" for row in rows)
    header = ["figure", "first", "best other engine", "this project", "the other", "times as good"]
    title = f"This project is first in {n_first} of {len(rows)} figures, among the engines in float32:"
    return [title, "", *table(header, rows, n_texts=3)]


def report(results):
    """The results as Markdown."""
    speeds = [f"tokens/s at {n}" for n in columns(results, "decode")]
    times = [f"ms at {n}" for n in columns(results, "prompt")]
    return "\n".join(
        [
            f"Medians of {results['rounds']} rounds.",
            "",
            "Tokens/s decoded and ms to the first token, after n tokens:",
            "",
            *engine_table(results, speeds + times, ["decode", "prompt"]),
            "Tokens/s in total for n texts in a batch, after prompts of 10 tokens:",
            "",
            *engine_table(results, columns(results, "batch"), ["batch"]),
            "From the start of a process to the first token, with the weights in the page cache:",
            "",
            *engine_table(results, ["s", "peak memory, MB"], ["start", "memory"]),
            f"{results['text_mb']:.1f} MB of text to ids, one thread, empty caches at the start:",
            "",
            *tokenizer_table(results),
            *comparison_table(results),
            *(f"- not installed: {name}" for name in results["not_installed"]),
            *(f"- left out: {name}: {reason}" for name, reason in results["failed"].items()),
            *(describe_agreement(*found) for found in results["agreement"].items()),
            "",
            *(f"- {name}: {value}" for name, value in results["machine"].items()),
            "",
        ]
    )


def describe_agreement(name, found):
    """The results of the checks as a line."""
    texts = []
    if name != OURS:
        difference, correlation = found["difference"], found["correlation"]
        texts.append(f"logits within {difference:.1e} of ours, correlation {correlation:.6f}")
        texts.append(f"{found['n_same']} equal tokens")
    if "batch" in found:
        texts.append(f"{100 * found['batch']:.0f} % of the ids in a batch as alone")
    return f"- {name}: {', '.join(texts)}"
