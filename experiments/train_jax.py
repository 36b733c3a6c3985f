"""Train a small GPT-2 to sort digits, add numbers, invent names or continue your text, with gpt2.py and JAX.

    python experiments/train_jax.py sort             # or add, or names
    python gpt2.py --model_size=sort "302120="
    python experiments/train_jax.py text --file=input.txt --size=gpt-nano --state=state.npz

gpt2.py only computes logits. But `gpt2` is a pure function, and jax.numpy has all the NumPy functions that it
calls. With gpt2.np = jax.numpy, JAX traces the same lines of code, compiles them and differentiates them.
"""

from contextlib import contextmanager
from pathlib import Path

import numpy as np
from helpers.hub_folder import new_folder, save_model
from helpers.interrupts import recorded_interrupt
from helpers.new_model import choose_size, count_params, init_params
from helpers.progress_bar import progress_bar
from helpers.training_report import check_loss, held_out_loss, print_command, print_results
from helpers.training_state import TrainingState, fingerprint
from helpers.training_tasks import load_task

import gpt2
from cli.exit_status import run

with recorded_interrupt():  # KeyboardInterrupt in this import can crash the process
    import jax
    import optax
    from helpers.optimizer import new_optimizer


@contextmanager
def under_jax():
    """Make gpt2.py compute with jax.numpy inside the block."""
    gpt2.np = jax.numpy
    try:
        yield
    finally:
        gpt2.np = np


def mean_loss(params, n_head, ids, is_answer):
    """The mean cross entropy of the answer tokens. ids [n_batch, n_ctx + 1], is_answer [n_batch, n_ctx]."""
    logits = gpt2.gpt2(ids[:, :-1], **params, n_head=n_head)  # [n_batch, n_ctx] -> [n_batch, n_ctx, n_vocab]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, ids[:, 1:])  # -> [n_batch, n_ctx]
    return (losses * is_answer).sum() / is_answer.sum()


def train(params, n_head, ids, is_answer, optimizer, n_steps, batch_size, seed, state):
    """Train on random batches. Returns the new params. `state`, a TrainingState, stores the progress."""

    @jax.jit
    def step(params, opt_state, *batch):
        loss, gradients = jax.value_and_grad(mean_loss)(params, n_head, *batch)
        updates, opt_state = optimizer.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    arrays, structure = jax.tree.flatten((params, optimizer.init(params)))
    n_done, arrays = state.load(arrays)
    params, opt_state = jax.tree.unflatten(structure, arrays)
    with under_jax(), progress_bar(range(n_done, n_steps), n_steps, "step", n_done) as bar:
        for n in bar:
            rng = np.random.default_rng([seed, n])  # a resumed training draws the same batches
            rows = rng.integers(len(ids), size=batch_size)
            params, opt_state, loss = step(params, opt_state, ids[rows], is_answer[rows])
            bar.set_postfix(loss=f"{loss:.4f}")
            check_loss(loss)
            state.update(n + 1, jax.tree.leaves((params, opt_state)))
    return jax.tree.map(np.asarray, params)


def max_difference(params, n_head, ids):
    """The largest difference between the logits of NumPy and of JAX. ids [n_batch, n_seq] -> float."""
    numpy_logits = gpt2.gpt2(ids, **params, n_head=n_head)
    with under_jax():
        jax_logits = jax.jit(gpt2.gpt2, static_argnames="n_head")(ids, **params, n_head=n_head)
    return np.abs(numpy_logits - jax_logits).max()


def main(
    task: str,
    file: str = None,
    encoder: str = None,
    n_ctx: int = None,
    n_digits: int = None,
    size: str = None,
    n_layer: int = None,
    n_head: int = None,
    n_embd: int = None,
    n_steps: int = None,
    batch_size: int = 32,
    learning_rate: float = 3e-3,
    seed: int = 0,
    out: str = None,
    state: str = None,
):
    """Train a small GPT-2 from scratch and save it for gpt2.py.

    Args:
        task: sort (302120=001223), add (12+34=640, the last digit of the sum first), names, or text.
        file: for text: the text to learn, UTF-8. Its last tenth is held out.
        encoder: for text: a model whose BPE tokenizer to use, such as demo. Without it the tokens are bytes,
            so a character outside ASCII is several tokens.
        n_ctx: for text: the number of tokens in the context. The default is 64.
        n_digits: for add: the digits of each number, from 1 to 3. The default is 2.
        size: a size of minGPT: gpt-nano, gpt-micro, gpt-mini, ... The default is 2 layers, 4 heads, 64 wide.
        n_layer: the number of transformer blocks, instead of that of the size.
        n_head: the number of attention heads, instead of that of the size.
        n_embd: the width of the model, a multiple of n_head, instead of that of the size.
        n_steps: the number of batches. The default depends on the task.
        batch_size: the number of texts in a batch.
        learning_rate: the highest learning rate, after the warmup.
        seed: determines the texts, the initial weights and the batches.
        out: a new folder for the model. The default is the name of the task.
        state: a file that stores the progress, such as state.npz. The same command resumes from it.
    """
    jax.config.update("jax_platforms", "cpu")  # fast enough; accelerators may round float32 more coarsely
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # a step is complete when it returns
    sizes = choose_size(size, n_layer=n_layer, n_head=n_head, n_embd=n_embd)
    n_head = sizes.pop("n_head")
    path = Path(out or task).expanduser()
    with recorded_interrupt() as check_interrupt, new_folder(path) as folder:
        rng = np.random.default_rng(seed)
        data = load_task(task, rng, file=file, encoder=encoder, n_ctx=n_ctx, n_digits=n_digits)
        n_steps = data.n_steps if n_steps is None else n_steps
        optimizer = new_optimizer(learning_rate, n_steps)
        sizes |= {"n_vocab": max(data.encoder.decoder) + 1, "n_ctx": data.training[1].shape[1]}
        params = init_params(rng, **sizes)
        print(f"{data.summary}\n{count_params(params):,} parameters", flush=True)

        settings = [task, sizes, n_head, n_steps, batch_size, learning_rate, seed]
        stored = TrainingState(state, fingerprint(settings, data.texts, data.encoder), check_interrupt)
        loss_before = held_out_loss(mean_loss, params, n_head, data.held_out, check_interrupt)
        params = train(params, n_head, *data.training, optimizer, n_steps, batch_size, seed, stored)
        loss_after = held_out_loss(mean_loss, params, n_head, data.held_out, check_interrupt)
        print(f"held-out loss: {loss_before:.4f} before, {loss_after:.4f} after {n_steps} steps")
        difference = max_difference(params, n_head, data.held_out[0][:batch_size, :-1])
        print(f"largest difference between the logits of NumPy and JAX: {difference:.0e}")
        print_results(data, params, n_head)
        save_model(folder, data.encoder, sizes | {"n_head": n_head}, params)
        check_interrupt()
    print_command(path, data.prompt)


if __name__ == "__main__":
    run(main)
