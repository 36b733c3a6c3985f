"""Activation patching: copy hidden states of one prompt into the run of another, and see which ones matter.

    python experiments/patch.py --corrupted="The queen lost" "The king lost"

Both prompts have the same number of tokens. Their answers, the most probable next tokens, differ. Each cell
is a run of the corrupted prompt with one hidden state of the clean prompt. The metric is the logit of the
clean answer minus that of the corrupted answer. A cell shows how much of the metric is restored: 0 is the
corrupted run, 1 is the clean run.

Paper: Meng et al., "Locating and Editing Factual Associations in GPT", arXiv:2202.05262. They corrupt the
prompt with noise. Here a second prompt takes the place of the noise.
"""

import numpy as np
from helpers.hidden_states import decode_state, hidden_states
from helpers.layer_map import draw_layer_map
from helpers.output_files import write_picture
from helpers.picture_labels import picture_labels
from helpers.progress_bar import progress_bar
from helpers.token_labels import encode_within_context

from cli.exit_status import run
from gpt2 import gpt2, transformer_block
from utils import load_encoder_hparams_and_params


def patched_logits(clean, corrupted, layer, positions, params, n_head):
    """Patch the input of a layer at some positions. -> logits after the last token, [n_vocab].

    clean, corrupted: the hidden states of both prompts, [n_layer + 1, n_seq, n_embd].
    """
    x = corrupted[layer].copy()  # [n_seq, n_embd]
    x[positions] = clean[layer, positions]  # the intervention
    for block in params["blocks"][layer:]:
        x = transformer_block(x, **block, n_head=n_head)  # [n_seq, n_embd] -> [n_seq, n_embd]
    return decode_state(x[-1:], params)[0]  # [1, n_embd] -> [1, n_vocab] -> [n_vocab]


def restored_metric(clean_ids, corrupted_ids, answers, params, n_head):
    """Patch each hidden state on its own. Two prompts, [n_seq] -> restored part, [n_layer + 1, n_seq].

    answers: the id of the clean answer and that of the corrupted answer.
    """

    def metric(layer, positions):
        logits = patched_logits(clean, corrupted, layer, positions, params, n_head)
        return logits[answers[0]] - logits[answers[1]]

    clean, corrupted = (hidden_states(ids, params, n_head) for ids in (clean_ids, corrupted_ids))
    lowest, highest = metric(0, []), metric(0, slice(None))  # patch nothing, patch everything
    metrics = np.empty(clean.shape[:2])  # [n_layer + 1, n_seq]
    for cell in progress_bar(np.ndindex(metrics.shape), metrics.size, "run"):
        metrics[cell] = metric(*cell)
    return (metrics - lowest) / (highest - lowest)


def main(prompt: str, corrupted: str = "", model_size: str = None, out: str = "patch.png"):
    """Draw how much of the answer to a prompt each of its hidden states restores in a corrupted prompt.

    Args:
        prompt: the clean prompt.
        corrupted: the corrupted prompt, with the same number of tokens.
        model_size: the model, as for gpt2.py.
        out: the file name of the picture.
    """
    encoder, hparams, params = load_encoder_hparams_and_params(model_size)
    n_head = hparams["n_head"]
    pair = [encode_within_context(encoder, text, params) for text in (prompt, corrupted)]
    if len(pair[0]) != len(pair[1]):
        raise ValueError(f"--corrupted must have {len(pair[0])} tokens like the prompt, not {len(pair[1])}")
    answers = [int(np.argmax(gpt2(ids, **params, n_head=n_head, n_logits=1))) for ids in pair]
    answer, other = picture_labels(encoder, answers)
    if answers[0] == answers[1]:
        raise ValueError(f"the most probable next token of both prompts is {answer}")
    clean, changed = (picture_labels(encoder, ids) for ids in pair)
    columns = [old if old == new else f"{old} / {new}" for old, new in zip(clean, changed, strict=True)]
    rows = ["embedding", *(f"layer {layer}" for layer in range(len(params["blocks"])))]
    restored = restored_metric(*pair, answers, params, n_head)
    limit = max(1, np.abs(restored).max())
    title = f"hidden states after each layer, patched from clean ({answer}) to corrupted ({other})"
    write_picture(out, draw_layer_map(restored, rows, columns, title, "restored", limit))


if __name__ == "__main__":
    run(main)
