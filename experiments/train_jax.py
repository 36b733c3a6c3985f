"""Train a small GPT-2 to sort digits, to add numbers or to invent names, with gpt2.py and JAX.

    python experiments/train_jax.py sort             # or add, or names
    python gpt2.py --model_size=sort "302120="

gpt2.py only computes logits. But `gpt2` is a pure function, and jax.numpy has all the NumPy functions that it
calls. With gpt2.np = jax.numpy, JAX traces the same lines of code, compiles them and differentiates them.
"""

import shlex
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from helpers.hub_folder import byte_encoder, new_folder, save_model
from helpers.interrupts import recorded_interrupt
from helpers.progress_bar import progress_bar
from helpers.training_tasks import TASKS, tokenize

import gpt2
from cli.exit_status import run
from utils import MODEL_SIZES

with recorded_interrupt():  # KeyboardInterrupt in this import can crash the process
    import jax
    import optax

N_STEPS = {"sort": 500, "add": 1500, "names": 300}  # there are few names: with more steps the model overfits
BATCH_SIZE = 32
LEARNING_RATE = 3e-3


@contextmanager
def under_jax():
    """Make gpt2.py compute with jax.numpy inside the block."""
    gpt2.np = jax.numpy
    try:
        yield
    finally:
        gpt2.np = np


def init_params(rng, n_vocab, n_ctx, n_embd, n_layer):
    """Random initial parameters with GPT-2's distribution, nested as `gpt2` takes them; float32."""

    def normal(*shape, std=0.02):
        return rng.normal(0, std, shape).astype(np.float32)

    def norm():
        return {"g": np.ones(n_embd, np.float32), "b": np.zeros(n_embd, np.float32)}

    def linear(n_in, n_out, std=0.02):
        return {"w": normal(n_in, n_out, std=std), "b": np.zeros(n_out, np.float32)}

    def block():
        std = 0.02 / (2 * n_layer) ** 0.5  # for weights that add to x: that happens 2*n_layer times
        return {
            "ln_1": norm(),
            "attn": {"c_attn": linear(n_embd, 3 * n_embd), "c_proj": linear(n_embd, n_embd, std)},
            "ln_2": norm(),
            "mlp": {"c_fc": linear(n_embd, 4 * n_embd), "c_proj": linear(4 * n_embd, n_embd, std)},
        }

    wte, wpe = normal(n_vocab, n_embd), normal(n_ctx, n_embd)
    return {"wte": wte, "wpe": wpe, "blocks": [block() for _ in range(n_layer)], "ln_f": norm()}


def mean_loss(params, n_head, ids, is_answer):
    """The mean cross entropy of the answer tokens. ids [n_batch, n_ctx + 1], is_answer [n_batch, n_ctx]."""
    logits = gpt2.gpt2(ids[:, :-1], **params, n_head=n_head)  # [n_batch, n_ctx] -> [n_batch, n_ctx, n_vocab]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, ids[:, 1:])  # -> [n_batch, n_ctx]
    return (losses * is_answer).sum() / is_answer.sum()


def hold_out(ids, is_answer):
    """Split texts into held-out ones, a tenth but at most 1,000, and training texts: two (ids, is_answer)."""
    n_held_out = min(1000, len(ids) // 10)
    return (ids[:n_held_out], is_answer[:n_held_out]), (ids[n_held_out:], is_answer[n_held_out:])


def train(params, n_head, ids, is_answer, n_steps, rng, check_interrupt):
    """Train with AdamW on random batches: linear warmup for a tenth of the steps, then cosine decay.

    check_interrupt: a function without arguments, called between two steps. It can raise KeyboardInterrupt.
    """
    learning_rate = optax.warmup_cosine_decay_schedule(0, LEARNING_RATE, n_steps // 10, n_steps)
    adamw = optax.adamw(learning_rate, b2=0.99, weight_decay=0.01)
    optimizer = optax.chain(optax.clip_by_global_norm(1), adamw)
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, *batch):
        loss, gradients = jax.value_and_grad(mean_loss)(params, n_head, *batch)
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, loss

    with under_jax(), progress_bar(range(n_steps), n_steps, "step") as bar:
        for _ in bar:
            rows = rng.integers(len(ids), size=BATCH_SIZE)
            params, state, loss = step(params, state, ids[rows], is_answer[rows])
            bar.set_postfix(loss=f"{loss:.4f}")
            check_interrupt()
    return jax.tree.map(np.asarray, params)


def max_difference(params, n_head, ids):
    """The largest difference between the logits of NumPy and of JAX. ids [n_batch, n_seq] -> float."""
    numpy_logits = gpt2.gpt2(ids, **params, n_head=n_head)
    with under_jax():
        jax_logits = jax.jit(gpt2.gpt2, static_argnames="n_head")(ids, **params, n_head=n_head)
    return np.abs(numpy_logits - jax_logits).max()


def count_correct(params, n_head, ids, is_answer):
    """Count the texts whose answer greedy decoding reproduces completely."""
    greedy_ids = gpt2.gpt2(ids[:, :-1], **params, n_head=n_head).argmax(axis=-1)  # -> [n_batch, n_ctx]
    return int(((greedy_ids == ids[:, 1:]) | ~is_answer).all(axis=-1).sum())


def sample_texts(params, n_head, encoder, n_texts=10):
    """Sample texts without a prompt, with seeds 0, 1, 2, ..."""
    end = encoder.end_of_text
    options = {"n_tokens_to_generate": len(params["wpe"]), "stop_id": end, "temperature": 0.7}
    samples = [gpt2.generate([end], params, n_head, **options, seed=seed) for seed in range(n_texts)]
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
    """Train a small GPT-2 from scratch and save it for gpt2.py.

    Args:
        task: sort (302120=001223), add (12+34=640, the last digit of the sum first), or names.
        n_steps: the number of batches. The default is 500 for sort, 1500 for add, 300 for names.
        n_layer: the number of transformer blocks.
        n_embd: the width of the model, a multiple of n_head.
        n_head: the number of attention heads.
        seed: determines the texts, the initial weights and the batches.
        out: a new folder for the model. The default is the name of the task.
    """
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}: choose one of {', '.join(TASKS)}")
    if out in (*MODEL_SIZES, "demo"):
        raise ValueError(f"{out} is the name of another model: choose another --out")
    if n_embd % n_head or n_steps == 0:
        raise ValueError("n_embd must be a multiple of n_head, and n_steps 1 or more")
    jax.config.update("jax_platforms", "cpu")  # fast enough; accelerators may round float32 more coarsely
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # a step is complete when it returns
    n_steps = N_STEPS[task] if n_steps is None else n_steps
    path = Path(out or task).expanduser()
    with recorded_interrupt() as check_interrupt, new_folder(path) as folder:
        rng, encoder = np.random.default_rng(seed), byte_encoder()
        lines = list(TASKS[task](rng))
        held_out, training = hold_out(*tokenize(lines, encoder))
        n_held_out, n_ctx = held_out[1].shape
        check_interrupt()
        print(
            f"{len(lines) - n_held_out} texts for training, {n_held_out} held out, such as {lines[0]}",
            flush=True,
        )

        sizes = {"n_vocab": len(encoder.encoder), "n_ctx": n_ctx, "n_embd": n_embd, "n_layer": n_layer}
        params = init_params(rng, **sizes)
        loss_before = mean_loss(params, n_head, *held_out)
        params = train(params, n_head, *training, n_steps, rng, check_interrupt)
        loss_after = mean_loss(params, n_head, *held_out)
        print(f"held-out loss: {loss_before:.4f} before, {loss_after:.4f} after {n_steps} steps")
        difference = max_difference(params, n_head, held_out[0][:, :-1])
        print(f"largest difference between the logits of NumPy and JAX: {difference:.0e}")
        if task == "names":
            texts = sample_texts(params, n_head, encoder)
            print(f"{', '.join(texts)}: {len(set(texts) - set(lines))} of {len(texts)} are new")
        else:
            print(f"correct answers: {count_correct(params, n_head, *held_out)} of {n_held_out}")
        save_model(folder, encoder, sizes | {"n_head": n_head}, params)
        check_interrupt()
    question = lines[0].partition("=")[0]
    prompt = "--unconditional --temperature=0.7" if task == "names" else f'"{question}="'
    print(f"python gpt2.py --model_size={shlex.quote(str(path))} {prompt}")


if __name__ == "__main__":
    run(main)
