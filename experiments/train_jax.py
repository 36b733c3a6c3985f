"""Training: a GPT-2 learns to sort, to add, or to make up names; JAX differentiates gpt2.py as it stands.

    python experiments/train_jax.py sort             # or add, or names
    python gpt2.py --model_size=sort "302120="

gpt2.py only computes logits. But it is a pure function, written with functions of NumPy that jax.numpy has,
too: put in NumPy's place, they let JAX follow the same lines of code, and differentiate and compile them.
"""

import shlex
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
import optax
from common import progress
from save_model import byte_encoder, new_folder, save_model
from tasks import TASKS, tokenize

import gpt2
from cli import run
from utils import MODEL_SIZES

N_STEPS = {"sort": 500, "add": 1500, "names": 300}  # names are few: after more steps it knows them by heart
BATCH_SIZE = 32
LEARNING_RATE = 3e-3


@contextmanager
def under_jax():
    """Within it gpt2.py computes with jax.numpy, after it with NumPy again."""
    gpt2.np = jax.numpy
    try:
        yield
    finally:
        gpt2.np = np


def init_params(rng, n_vocab, n_ctx, n_embd, n_layer):
    """Random parameters as GPT-2's were before training, nested as `gpt2` takes them; float32."""

    def normal(*shape, std=0.02):
        return rng.normal(0, std, shape).astype(np.float32)

    def norm():
        return {"g": np.ones(n_embd, np.float32), "b": np.zeros(n_embd, np.float32)}

    def linear(n_in, n_out, std=0.02):
        return {"w": normal(n_in, n_out, std=std), "b": np.zeros(n_out, np.float32)}

    def block():
        std = 0.02 / (2 * n_layer) ** 0.5  # where something is added to x, which happens 2*n_layer times
        return {
            "ln_1": norm(),
            "attn": {"c_attn": linear(n_embd, 3 * n_embd), "c_proj": linear(n_embd, n_embd, std)},
            "ln_2": norm(),
            "mlp": {"c_fc": linear(n_embd, 4 * n_embd), "c_proj": linear(4 * n_embd, n_embd, std)},
        }

    wte, wpe = normal(n_vocab, n_embd), normal(n_ctx, n_embd)
    return {"wte": wte, "wpe": wpe, "blocks": [block() for _ in range(n_layer)], "ln_f": norm()}


def mean_loss(params, n_head, ids, is_answer):
    """The mean cross entropy of the answers' tokens. ids [n_batch, n_ctx + 1], is_answer [n_batch, n_ctx]."""
    logits = gpt2.gpt2(ids[:, :-1], **params, n_head=n_head)  # [n_batch, n_ctx] -> [n_batch, n_ctx, n_vocab]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, ids[:, 1:])  # -> [n_batch, n_ctx]
    return (losses * is_answer).sum() / is_answer.sum()


def hold_out(ids, is_answer):
    """Split texts: a tenth, at most 1,000, to test with, the others to learn from -> two (ids, is_answer)."""
    n_new = min(1000, len(ids) // 10)
    return (ids[:n_new], is_answer[:n_new]), (ids[n_new:], is_answer[n_new:])


def train(params, n_head, ids, is_answer, n_steps, rng):
    """AdamW on random batches; the learning rate rises for a tenth of the steps, then falls like a cosine."""
    learning_rate = optax.warmup_cosine_decay_schedule(0, LEARNING_RATE, n_steps // 10, n_steps)
    adamw = optax.adamw(learning_rate, b2=0.99, weight_decay=0.01)
    optimizer = optax.chain(optax.clip_by_global_norm(1), adamw)
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, *batch):
        loss, gradients = jax.value_and_grad(mean_loss)(params, n_head, *batch)
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, loss

    with under_jax(), progress(range(n_steps), n_steps, "step") as bar:
        for _ in bar:
            rows = rng.integers(len(ids), size=BATCH_SIZE)
            params, state, loss = step(params, state, ids[rows], is_answer[rows])
            bar.set_postfix(loss=f"{loss:.4f}")
    return jax.tree.map(np.asarray, params)


def largest_difference(params, n_head, ids):
    """Between the logits by NumPy and those by JAX, for inputs [n_batch, n_seq]."""
    by_numpy = gpt2.gpt2(ids, **params, n_head=n_head)
    with under_jax():
        by_jax = jax.jit(gpt2.gpt2, static_argnames="n_head")(ids, **params, n_head=n_head)
    return np.abs(by_numpy - by_jax).max()


def count_right(params, n_head, ids, is_answer):
    """How many answers greedy decoding gets right as a whole: each of their tokens is the likeliest."""
    likeliest = gpt2.gpt2(ids[:, :-1], **params, n_head=n_head).argmax(axis=-1)  # -> [n_batch, n_ctx]
    return int(((likeliest == ids[:, 1:]) | ~is_answer).all(axis=-1).sum())


def draw_texts(params, n_head, encoder, n_texts=10):
    """Texts that begin with nothing, drawn from what the model finds probable, rather the likely ones."""
    end = encoder.end_of_text
    limits = {"n_tokens_to_generate": len(params["wpe"]), "stop_id": end, "temperature": 0.7}
    samples = [gpt2.generate([end], params, n_head, **limits, seed=seed) for seed in range(n_texts)]
    return [encoder.decode(list(ids)) for ids in samples]


def main(
    task: str,
    n_steps: int = None,
    n_layer: int = 2,
    n_embd: int = 64,
    n_head: int = 4,
    seed: int = 0,
    out: str = None,
):
    """Train a small GPT-2 from random weights, and save it for gpt2.py.

    Args:
        task: sort (302120=001223), add (12+34=640, the sum's last digit first), or names.
        n_steps: how many batches to learn from; by default 500 for sort, 1500 for add, 300 for names.
        n_layer: the number of transformer blocks.
        n_embd: values for each token, a multiple of n_head.
        n_head: the number of attention heads.
        seed: of the texts, the first weights, and the batches.
        out: the folder to save in, a new one; by default it has the task's name.
    """
    if task not in TASKS:
        raise ValueError(f"there is no task {task!r}: give one of {', '.join(TASKS)}")
    if out in (*MODEL_SIZES, "demo"):
        raise ValueError(f"{out} is the name of another model: give another --out")
    if n_embd % n_head or n_steps == 0:
        raise ValueError("n_embd must be a multiple of n_head, and n_steps 1 or more")
    jax.config.update("jax_platforms", "cpu")  # enough here; accelerators may round float32 more coarsely
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # nothing is under way when Ctrl-C comes
    n_steps = N_STEPS[task] if n_steps is None else n_steps
    path = Path(out or task).expanduser()
    with new_folder(path) as folder:
        rng, encoder = np.random.default_rng(seed), byte_encoder()
        lines = list(TASKS[task](rng))
        new, known = hold_out(*tokenize(lines, encoder))
        n_new, n_ctx = new[1].shape
        print(f"{len(lines) - n_new} texts to learn from, {n_new} others, such as {lines[0]}", flush=True)

        sizes = {"n_vocab": len(encoder.encoder), "n_ctx": n_ctx}
        sizes |= {"n_embd": n_embd, "n_layer": n_layer}
        params = init_params(rng, **sizes)
        loss = mean_loss(params, n_head, *new)
        params = train(params, n_head, *known, n_steps, rng)
        print(f"loss for the others: {loss:.4f}, after {n_steps} steps {mean_loss(params, n_head, *new):.4f}")
        apart = largest_difference(params, n_head, new[0][:, :-1])
        print(f"logits by NumPy and by JAX: at most {apart:.0e} apart")
        if task == "names":
            texts = draw_texts(params, n_head, encoder)
            print(f"{', '.join(texts)}: {len(set(texts) - set(lines))} of {len(texts)} are new")
        else:
            print(f"right answers to the others: {count_right(params, n_head, *new)} of {n_new}")
        save_model(folder, encoder, sizes | {"n_head": n_head}, params)
    question = lines[0].partition("=")[0]
    prompt = "--unconditional --temperature=0.7" if task == "names" else f'"{question}="'
    print(f"python gpt2.py --model_size={shlex.quote(str(path))} {prompt}")


if __name__ == "__main__":
    run(main)
