"""Draw tokens one by one, such that several requests give the same text as one run of gpt2.py."""

import numpy as np

from generation.batches import text_seed
from generation.min_p_and_repetition import sample
from generation.text_stream import TextStream
from gpt2 import generate
from serve.inspection import ids_in_context


def draw_tokens(model, prompt_ids, drawn_ids, n_tokens, seed, **sampling):
    """Continue a text, with the draws that follow the first len(drawn_ids) of this prompt and seed.

    Yields:
        {"id": the new id, "text": the text that is now certain}. The last one may be {"end": True}: the model
        ended the text.
    """
    encoder, params = model.encoder, model.params
    rng = rng_after(len(drawn_ids), text_seed(seed, prompt_ids), model.hparams["n_vocab"])
    ids = ids_in_context(prompt_ids, drawn_ids, model.n_ctx)
    stream = TextStream(encoder)
    for token_id in [*prompt_ids, *drawn_ids]:
        stream.push(token_id)  # the last of them may end inside a character
    n_drawn = 0
    options = {"stop_id": encoder.stop_ids, "seed": rng, "sampler": sample, **sampling}
    for new_id in generate(ids, params, model.hparams["n_head"], n_tokens, **options):
        yield {"id": new_id, "text": stream.push(new_id)}
        n_drawn += 1
    if n_drawn < n_tokens:
        yield {"end": True}


def rng_after(n_draws, seed, n_vocab):
    """The generator of `gpt2.generate` after n_draws tokens. `gpt2.draw` takes n_vocab numbers for each."""
    rng = np.random.default_rng(seed)
    for _ in range(n_draws):
        rng.gumbel(size=n_vocab)
    return rng
