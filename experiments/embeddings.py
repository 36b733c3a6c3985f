"""Embed texts: nearest neighbors and a map of words or sentences, by the vectors of any layer.

    python experiments/embeddings.py --out=embeddings.png experiments/data/words.txt
    python experiments/embeddings.py --layer=0 --n_neighbors=3 experiments/data/sentences.txt

The file has one text per line. A space before a word selects the token that the word has inside a sentence.
The vector of a text is the mean of its hidden states before one layer. Two corrections help:
<|endoftext|> comes first and does not count, because the first hidden state is unlike all others. The mean of
all texts is subtracted, because all hidden states share a direction: Ethayarajh, 2019, arXiv:1909.00512.
"""

import numpy as np
from helpers.hidden_states import hidden_states
from helpers.output_files import write_picture
from helpers.picture_labels import drawable
from helpers.progress_bar import progress_bar
from helpers.token_labels import encode_within_context, visible
from matplotlib.figure import Figure

from cli.exit_status import run
from cli.prompts import read_prompts_file
from utils import load_encoder_hparams_and_params

MAX_LABEL = 30  # characters


def text_vector(ids, start_ids, params, n_head, layer):
    """The mean hidden state of a text, before a layer. [n_seq] -> [n_embd]."""
    states = hidden_states([*start_ids, *ids], params, n_head)[layer]  # [n_start + n_seq, n_embd]
    return states[len(start_ids) :].mean(axis=0)


def cosine_similarities(vectors):
    """The cosine of the angle between any two vectors. [n_texts, n_embd] -> [n_texts, n_texts]."""
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return units @ units.T


def nearest_neighbors(similarities, n_neighbors):
    """The most similar other texts of each text. [n_texts, n_texts] -> numbers [n_texts, n_neighbors]."""
    distances = 1 - similarities
    np.fill_diagonal(distances, np.inf)  # no text is its own neighbor
    return np.argsort(distances, axis=1)[:, :n_neighbors]


def principal_components(vectors):
    """PCA: project centred vectors on two directions of most variance. [n_texts, n_embd] -> [n_texts, 2]."""
    _, _, directions = np.linalg.svd(vectors, full_matrices=False)  # rows, by decreasing variance
    return vectors @ directions[:2].T  # [n_texts, n_embd] @ [n_embd, 2]


def label_of(text):
    """Shorten a text for the picture."""
    text = visible(text.strip()).replace("·", " ")
    return text if len(text) <= MAX_LABEL else text[: MAX_LABEL - 1] + "…"


def draw(points, labels):
    """Draw a labeled point per text. points [n_texts, 2] -> Figure."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.add_subplot(xlabel="principal component 1", ylabel="principal component 2")
    axes.scatter(*points.T, s=12, color="steelblue")
    for point, label in zip(points, labels, strict=True):
        axes.annotate(label, point, (3, 3), textcoords="offset points", fontsize=8, parse_math=False)
    return figure


def main(path: str, layer: int = None, n_neighbors: int = 2, model_size: str = None, out: str = None):
    """Print the nearest neighbors of each text in a file.

    Args:
        path: the file, one text per line.
        layer: the layer that reads the hidden states, counted from 0; n_layer: those after the last layer.
            The default is the middle, n_layer / 2.
        n_neighbors: the number of neighbors of each text.
        model_size: the model, as for gpt2.py.
        out: the file name of a picture: the texts as points.
    """
    texts = read_prompts_file(path)
    if len(set(texts)) < len(texts) or len(texts) <= n_neighbors:
        raise ValueError(f"{path} needs more than {n_neighbors} texts, all different")
    encoder, hparams, params = load_encoder_hparams_and_params(model_size)
    layer = hparams["n_layer"] // 2 if layer is None else layer
    if layer > hparams["n_layer"]:
        raise ValueError(f"layer must be from 0 to {hparams['n_layer']}, not {layer}")
    model = {"start_ids": encoder.start_ids, "params": params, "n_head": hparams["n_head"], "layer": layer}
    ids = [encode_within_context(encoder, text, params) for text in texts]
    vectors = np.stack([text_vector(text_ids, **model) for text_ids in progress_bar(ids, len(ids), "text")])
    vectors = vectors - vectors.mean(axis=0)  # [n_texts, n_embd] - [n_embd]
    similarities = cosine_similarities(vectors)
    for number, neighbors in enumerate(nearest_neighbors(similarities, n_neighbors)):
        print(texts[number].strip())
        for neighbor in neighbors:
            print(f"  {similarities[number, neighbor]:7.4f} {texts[neighbor].strip()}")
    if out is not None:
        write_picture(out, draw(principal_components(vectors), drawable([label_of(text) for text in texts])))


if __name__ == "__main__":
    run(main)
