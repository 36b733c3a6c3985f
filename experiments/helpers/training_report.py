"""Evaluate the model of train_jax.py: its held-out loss, its mistakes, or texts that it writes."""

import shlex

import numpy as np

import gpt2
from encoder import END_OF_TEXT
from helpers.progress_bar import progress_bar

BATCH_SIZE = 32  # held-out texts: the logits of all of them can exceed the memory
MAX_SHOWN = 10  # mistakes


def held_out_loss(mean_loss, params, n_head, held_out, check_interrupt):
    """The mean loss of all held-out texts, (ids, is_answer), batch by batch. Raises as `check_loss` does."""
    starts = range(0, len(held_out[0]), BATCH_SIZE)
    losses, n_answer_tokens = [], []
    for start in progress_bar(starts, len(starts), "batch"):
        ids, is_answer = (array[start : start + BATCH_SIZE] for array in held_out)
        losses.append(mean_loss(params, n_head, ids, is_answer))
        n_answer_tokens.append(is_answer.sum())
        check_interrupt()
    loss = np.average(losses, weights=n_answer_tokens)
    check_loss(loss)
    return loss


def check_loss(loss):
    """Raise FloatingPointError if a loss is NaN or infinite."""
    if not np.isfinite(loss):
        raise FloatingPointError(f"the loss is {loss}: choose a lower --learning_rate")


def print_results(task, params, n_head):
    """Print new names, the continuation of a text, or the number of correct answers and the mistakes."""
    model = {"params": params, "n_head": n_head}
    if not task.prompt:
        texts = sample_texts(task.encoder, **model)
        print(f"{', '.join(texts)}: {len(set(texts) - set(task.texts))} of {len(texts)} are new")
    elif not task.prompt.endswith("="):
        print(continue_text(task.prompt, task.encoder, **model))
    else:
        print_mistakes(task, **model)


def print_mistakes(task, params, n_head):
    """Print the number of correct answers to the held-out questions, and the first mistakes."""
    ids, is_answer = task.held_out
    rows = find_mistakes(params, n_head, ids, is_answer)
    print(f"correct answers: {len(ids) - len(rows)} of {len(ids)}")
    for row in rows[:MAX_SHOWN]:
        n_question = is_answer[row].argmax() + 1  # the first answer token is ids[n_question]
        options = {"n_tokens_to_generate": len(ids[row]) - n_question, "stop_id": task.encoder.end_of_text}
        answer = task.encoder.decode(list(gpt2.generate(ids[row, :n_question], params, n_head, **options)))
        correct, *_ = task.encoder.decode(list(ids[row])).split(END_OF_TEXT)
        print(f"{correct}, but the model answers {answer!r}")
    if len(rows) > MAX_SHOWN:
        print(f"and {len(rows) - MAX_SHOWN} more")


def find_mistakes(params, n_head, ids, is_answer):
    """Find the texts whose answer greedy decoding does not reproduce completely -> rows [n_mistakes]."""
    greedy_ids = gpt2.gpt2(ids[:, :-1], **params, n_head=n_head).argmax(axis=-1)  # -> [n_batch, n_ctx]
    is_correct = (greedy_ids == ids[:, 1:]) | ~is_answer
    return np.flatnonzero(~is_correct.all(axis=-1))


def sample_texts(encoder, params, n_head, n_texts=10):
    """Sample texts without a prompt, with seeds 0, 1, 2, ..."""
    end = encoder.end_of_text
    options = {"n_tokens_to_generate": len(params["wpe"]), "stop_id": end, "temperature": 0.7}
    samples = [gpt2.generate([end], params, n_head, **options, seed=seed) for seed in range(n_texts)]
    return [encoder.decode(list(ids)) for ids in samples]


def continue_text(prompt, encoder, params, n_head):
    """Sample a continuation with seed 0 that fills the context. Returns prompt and continuation."""
    n_ctx = len(params["wpe"])
    ids = encoder.encode(prompt)[:n_ctx]
    options = {"n_tokens_to_generate": n_ctx - len(ids), "temperature": 0.7, "seed": 0}
    return encoder.decode([*ids, *gpt2.generate(ids, params, n_head, **options)])


def print_command(path, prompt):
    """Print the command with which gpt2.py runs the model."""
    sampling = [] if prompt.endswith("=") else ["--temperature=0.7"]
    flags = [f"--model_size={path}", *sampling, prompt or "--unconditional"]
    print(shlex.join(["python", "gpt2.py", *flags]))
