"""The pictures of docs/how-gpt2-works.md; tests/data/make_pictures.py writes them to files."""

import contextlib
import io

import numpy as np
from helpers.picture_labels import picture_labels
from matplotlib.figure import Figure

from gpt2 import apply_temperature, attention, gelu, gpt2, layer_norm, linear, softmax, transformer_block
from support.documents import code_blocks

COLORS = ("lightblue", "navajowhite", "palegreen", "thistle")


def run_snippets(path):
    """Run the Python code of a document in order -> its variables."""
    variables = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for language, code in code_blocks(path):
            if language == "python":
                exec(code, variables)
    return variables


def new_figure(width, height, n_columns=1, **options):
    """An empty figure, in inches, and its axes in one row."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, n_columns, squeeze=False, **options)[0]


def without_frame(axes):
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def draw_tokens(labels, ids):
    """A box for each token, as wide as its text, above its id."""
    figure, (axes,) = new_figure(7, 1.1)
    start = 0
    for n, (label, token_id) in enumerate(zip(labels, ids, strict=True)):
        width = len(label) + 1
        axes.barh(0, width, left=start, height=0.8, color=COLORS[n % len(COLORS)], edgecolor="white")
        axes.text(start + width / 2, 0, label, ha="center", va="center", parse_math=False)
        axes.text(start + width / 2, -0.75, token_id, ha="center", va="center", fontsize=9)
        start += width
    axes.set(ylim=(-1.1, 0.5))
    without_frame(axes)
    return figure


def draw_embeddings(arrays, labels):
    """A heatmap for each of {title: [n_seq, n_columns]}, all on the same scale."""
    figure, panels = new_figure(8, 2, len(arrays), sharey=True)
    maximum = max(np.abs(array).max() for array in arrays.values())
    for axes, (title, array) in zip(panels, arrays.items(), strict=True):
        image = axes.imshow(array, cmap="coolwarm", vmin=-maximum, vmax=maximum, aspect="auto")
        axes.set(title=title, xlabel="column")
        axes.set_yticks(range(len(labels)), labels, parse_math=False)
    figure.colorbar(image, ax=panels)
    return figure


def draw_spread(arrays, labels):
    """The numbers of each token as points in a row, for each of {title: [n_seq, n_embd]}."""
    figure, panels = new_figure(8, 2.2, len(arrays), sharex=True, sharey=True)
    for axes, (title, array) in zip(panels, arrays.items(), strict=True):
        for row, values in enumerate(array):
            axes.plot(values, np.full(len(values), row), "|", color="steelblue", alpha=0.4)
        axes.set(title=title, xlabel="value")
        axes.set_yticks(range(len(labels)), labels, parse_math=False)
    axes.invert_yaxis()
    return figure


def attention_weights(q, k):
    """With an identity matrix as values, attention returns its weights: [..., n_seq, n_seq]."""
    n_seq = q.shape[-2]
    return attention(q, k, np.eye(n_seq), mask=-1e10 * (1 - np.tri(n_seq)))


def most_probable(encoder, logits, n_ranks=3):
    """[n_rows, n_vocab] -> labels and probabilities of the most probable next tokens, [n_rows, n_ranks]."""
    probs = softmax(logits)
    ids = np.argsort(-probs, axis=-1)[:, :n_ranks]
    return [picture_labels(encoder, row) for row in ids.tolist()], np.take_along_axis(probs, ids, axis=-1)


def draw_weights(axes, weights, labels):
    """Attention weights [n_seq, n_seq]: a query per row; the cells of later tokens stay empty."""
    axes.imshow(np.where(np.tri(len(weights)), weights, np.nan), cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(labels)), labels, rotation=90, parse_math=False)
    axes.set_yticks(range(len(labels)), labels, parse_math=False)
    axes.spines[:].set_visible(False)


def draw_attention(q, k, weights):
    """Queries and keys as arrows, [n_seq, 2] each, beside the weights [n_seq, n_seq]."""
    figure, (left, right) = new_figure(7, 2.8, 2)
    for name, vectors, color in (("query", q, "steelblue"), ("key", k, "darkorange")):
        for n, (x, y) in enumerate(vectors):
            left.annotate("", (x, y), (0, 0), arrowprops={"arrowstyle": "->", "color": color, "lw": 2})
            left.text(x + 0.05, y + 0.05, f"{name} {n}", color=color)
    left.set(xlim=(0, 3.6), ylim=(0, 2.4))
    left.spines[["top", "right"]].set_visible(False)
    draw_weights(right, weights, [f"token {n}" for n in range(len(weights))])
    for (query, key), weight in np.ndenumerate(weights):
        if key <= query:
            color = "white" if weight > 0.5 else "black"
            right.text(key, query, f"{weight:.2f}", ha="center", va="center", color=color)
    right.set(ylabel="query", xlabel="key")
    return figure


def queries_and_keys(x, page, layer):
    """The queries and keys of a layer. x [n_seq, n_embd] -> two times [n_head, n_seq, head_dim]."""
    n_head, blocks = page["n_head"], page["params"]["blocks"]
    for block in blocks[:layer]:
        x = transformer_block(x, **block, n_head=n_head)
    normed = layer_norm(x, **blocks[layer]["ln_1"])
    queries, keys, _ = np.split(linear(normed, **blocks[layer]["attn"]["c_attn"]), 3, axis=-1)
    return [np.stack(np.split(part, n_head, axis=-1)) for part in (queries, keys)]


def draw_heads(weights, labels):
    """One triangle for each head. weights: [n_head, n_seq, n_seq]."""
    figure, panels = new_figure(8, 2.4, len(weights), sharey=True)
    for head, axes in enumerate(panels):
        draw_weights(axes, weights[head], labels)
        axes.set(title=f"head {head}")
    return figure


def draw_cache(labels):
    """The scores that a cache saves, and those of the newest token."""
    figure, (axes,) = new_figure(5, 2.8)
    n_seq = len(labels)
    computed = np.where(np.tri(n_seq), 1.0, np.nan)  # by earlier calls
    computed[-1] = 2  # by this call
    axes.imshow(computed, cmap="Blues", vmin=0, vmax=2.5)
    for query in range(n_seq):
        note = "this call: one query, all keys" if query == n_seq - 1 else "not computed again"
        axes.text(n_seq, query, note, va="center", fontsize=9)
    axes.set_xticks(range(n_seq), labels, rotation=90, parse_math=False)
    axes.set_yticks(range(n_seq), labels, parse_math=False)
    axes.set(xlabel="keys: the last is new, the others are in the cache", ylabel="queries")
    axes.spines[:].set_visible(False)
    return figure


def draw_gelu(inputs):
    """GELU, and a histogram of its inputs."""
    figure, (left, right) = new_figure(7, 2.2, 2)
    x = np.linspace(-4, 4, 200)
    left.plot(x, gelu(x), color="steelblue")
    left.set(title="gelu(x)", xlabel="x")
    right.hist(inputs.ravel(), bins=60, color="steelblue")
    right.set(title="the numbers before GELU", xlabel="x", yticks=[])
    for axes in (left, right):
        axes.axvline(0, color="gray", lw=0.5)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def draw_ranking(row_labels, cell_labels, probs):
    """A table of the most probable next tokens, colored by their probabilities [n_rows, n_ranks]."""
    n_rows, n_ranks = probs.shape
    figure, (axes,) = new_figure(6, 0.28 * n_rows + 0.6)
    axes.imshow(probs, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, rank), prob in np.ndenumerate(probs):
        color = "white" if prob > 0.5 else "black"
        text = f"{cell_labels[row][rank]}  {prob:.0%}"
        axes.text(rank, row, text, ha="center", va="center", color=color, fontsize=9, parse_math=False)
    axes.set_yticks(range(n_rows), row_labels, parse_math=False)
    axes.set_xticks(range(n_ranks), [f"rank {rank + 1}" for rank in range(n_ranks)])
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def draw_temperatures(columns, labels):
    """A panel of bars for each of {temperature: probabilities [n_tokens]}."""
    figure, panels = new_figure(8, 2.2, len(columns), sharey=True)
    for axes, (temperature, probs) in zip(panels, columns.items(), strict=True):
        axes.barh(range(len(labels)), probs, color="steelblue")
        axes.set(title=f"temperature {temperature:g}", xlim=(0, 1))
        axes.set_yticks(range(len(labels)), labels, parse_math=False)
        axes.spines[["top", "right"]].set_visible(False)
    axes.invert_yaxis()
    return figure


def draw_batch(labels, n_pad):
    """The slots of a batch: labels [n_batch][n_seq], and the padding of each text, [n_batch, 1]."""
    figure, (axes,) = new_figure(7, 0.55 * len(labels) + 0.5)
    for row, row_labels in enumerate(labels):
        for slot, label in enumerate(row_labels):
            position = slot - n_pad[row, 0]
            padded = position < 0
            axes.barh(row, 0.96, left=slot - 0.48, height=0.9, color="lightgray" if padded else "lightblue")
            text = "padding" if padded else f"{label}\nposition {position}"
            axes.text(slot, row, text, ha="center", va="center", fontsize=8, parse_math=False)
    axes.set_yticks(range(len(labels)), [f"text {row}" for row in range(len(labels))])
    axes.set_xticks(range(len(row_labels)), [f"slot {slot}" for slot in range(len(row_labels))])
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def draw_weight_sizes(n_vocab, n_embd, n_layer):
    """The megabytes of each kind of matrix, in float32."""
    figure, (axes,) = new_figure(6, 2)
    widths = {"c_attn": 3 * n_layer * n_embd, "c_proj of attention": n_layer * n_embd}
    widths |= {"c_fc": 4 * n_layer * n_embd, "c_proj of the MLP": 4 * n_layer * n_embd, "wte": n_vocab}
    bars = axes.barh(list(widths), [4 * n_embd * width / 1e6 for width in widths.values()], color="steelblue")
    axes.bar_label(bars, fmt="%.0f", padding=2)
    axes.set(xlabel="MB")
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def make_pictures(page):
    """Yield (name, Figure) for each picture. page: the variables of the document."""
    encoder, ids, x, wte, logits = (page[name] for name in ("encoder", "ids", "x", "wte", "logits"))
    labels = picture_labels(encoder, ids)
    yield "tokens", draw_tokens(labels, ids)
    parts = {"wte[ids]": wte[ids], "wpe[: len(ids)]": page["wpe"][: len(ids)], "x, the sum": x}
    yield "embeddings", draw_embeddings({name: part[:, :40] for name, part in parts.items()}, labels)
    yield "layer_norm", draw_spread({"x": x, "layer_norm(x, g=1, b=0)": layer_norm(x, g=1, b=0)}, labels)
    yield "attention", draw_attention(page["q"], page["k"], attention_weights(page["q"], page["k"]))
    yield "heads", draw_heads(attention_weights(*queries_and_keys(x, page, layer=3)), labels)
    yield "cache", draw_cache(labels)
    yield "gelu", draw_gelu(linear(page["mlp_input"], **page["mlp"]["c_fc"]))
    yield "logits", draw_ranking([f"{label} →" for label in labels], *most_probable(encoder, logits))
    best = np.argsort(-logits[-1])[:8]
    temperatures = {t: softmax(apply_temperature(logits[-1], t))[best] for t in (0.5, 1, 2)}
    yield "temperature", draw_temperatures(temperatures, picture_labels(encoder, best.tolist()))
    steps = gpt2(page["written"][:-1], **page["params"], n_head=page["n_head"])[len(ids) - 1 :][:8]
    names = [f"step {n + 1}" for n in range(len(steps))]
    yield "loop", draw_ranking(names, *most_probable(encoder, steps))
    batch_labels = [picture_labels(encoder, row) for row in page["batch"]]
    yield "batch", draw_batch(batch_labels, page["n_pad"])
    yield "speed", draw_weight_sizes(n_vocab=50257, n_embd=768, n_layer=12)
