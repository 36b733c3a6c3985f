"""What `python gpt2.py` does: continue a text as you watch, or many at once, or say how likely a text is."""

import contextlib
import json
import math
import os
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

from batch import generate_batch
from encoder import TextStream
from gpt2 import generate, score_windows
from lookup import generate_greedily
from sampling import check_sampling, log_softmax
from utils import load_encoder_hparams_and_params


def main(
    prompt: str = None,
    n_tokens_to_generate: int = 40,
    model_size: str = None,
    models_dir: str = None,
    mirror: str = None,
    offline: bool = False,
    temperature: float = None,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    seed: int = None,
    stop: list = (),
    stream: bool = True,
    quiet: bool = False,
    prompt_file: str = None,
    unconditional: bool = False,
    prompts_file: str = None,
    n_samples: int = 1,
    batch_size: int = None,
    logprobs: int = None,
    score: bool = False,
    stride: int = None,
):
    """Continue a text with GPT-2.

    Args:
        prompt: the text to continue. Without one it is what comes through a pipe, or what you type.
        n_tokens_to_generate: how many tokens to add at most; a token is a word or a piece of one.
        model_size: 124M, 355M, 774M or 1558M (downloaded on first use); demo (tiny, comes with the code); hf:
            and the name of a GPT-2 on the Hugging Face hub, as in hf:distilbert/distilgpt2; or the path of a
            folder with a model. By default 124M, or the demo where 124M cannot be had.
        models_dir: where the downloaded models are; by default the folder "models" beside gpt2.py.
        mirror: the address of a server to download from, with the file names of OpenAI's or of the hub; by
            default that in the environment variable GPT2_MIRROR, if there is one.
        offline: never touch the network.
        temperature: 0 always takes the likeliest token, more is more daring. By default 0, but 1 where top_k,
            top_p, min_p, seed or n_samples asks for chance.
        top_k: draw only from this many of the likeliest tokens; 0 is all.
        top_p: draw only from the smallest set of likeliest tokens that together reach this probability.
        min_p: draw only from tokens at least this fraction as probable as the likeliest.
        repetition_penalty: above 1, tokens that the text has already become less likely.
        seed: a whole number; with the same one chance repeats itself.
        stop: a text before which the output ends. May be given several times.
        stream: False prints the text at the end, not as it is made.
        quiet: no progress bar and no statistics.
        prompt_file: a file with the prompt; "-", which may also stand in the prompt's place, is the pipe.
        unconditional: start without a prompt.
        prompts_file: a file with a prompt on each line, or JSON lines, each with a "prompt". The results are
            JSON lines, as they are with n_samples and logprobs.
        n_samples: how many continuations of each prompt to draw.
        batch_size: how many texts to write at once; by default at most 8, or n_samples if that is more.
        logprobs: add the model's own log-probability of each token, and of this many of the likeliest ones.
        score: do not continue the text, but say how likely each of its tokens is.
        stride: by how many tokens score moves its window on, in a text longer than the context; by default
            half of the context.
    """
    if temperature is None:
        is_random = top_k > 0 or top_p < 1 or min_p > 0 or seed is not None or n_samples > 1
        temperature = 1.0 if is_random else 0.0
    sampling = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    sampling["repetition_penalty"] = repetition_penalty
    check_sampling(**sampling)
    if score and (unconditional or stop or prompts_file is not None or n_samples > 1 or logprobs is not None):
        raise ValueError("score takes none of: unconditional, prompts_file, n_samples, logprobs, stop")
    if stride is not None and not score:
        raise ValueError("stride is for score alone")
    if batch_size == 0:
        raise ValueError("batch_size must be 1 or more, not 0")
    prompts = read_prompts(prompt, prompt_file, prompts_file, unconditional)

    encoder, hparams, params = load_encoder_hparams_and_params(model_size, models_dir, mirror, offline)
    end_of_text = encoder.end_of_text
    model = {"params": params, "n_head": hparams["n_head"]}
    limits = {"n_tokens_to_generate": n_tokens_to_generate, "stop_id": end_of_text}

    def answer(texts):
        if score:
            write_scores(encoder, [end_of_text, *encoder.encode(texts[0])], model, stride, quiet)
        elif prompts_file is not None or n_samples > 1 or logprobs is not None:
            samples = [text for text in texts for _ in range(n_samples)]
            n_rows = batch_size or max(1, 8 // n_samples) * n_samples  # a batch computes its prompts once
            task = {**model, **limits, **sampling}
            write_json_lines(encoder, samples, n_rows, task, seed, stop, logprobs, quiet)
        else:
            ids = encoder.encode(texts[0]) or [end_of_text]
            if temperature == 0 and repetition_penalty == 1:
                new_ids = generate_greedily(ids, **model, **limits)
            else:
                new_ids = generate(ids, **model, **limits, **sampling, seed=random_stream(seed, ids))
            write_text(encoder, new_ids, n_tokens_to_generate, stop, stream, quiet)

    if prompts is None:
        converse(answer, quiet)
    else:
        answer(prompts)


# Prompts.


def read_prompts(prompt, prompt_file, prompts_file, unconditional):
    """The prompts, a list of texts; or None, which means to ask for them in the terminal."""
    given = [source for source in (prompt, prompt_file, prompts_file) if source is not None]
    if len(given) > 1:
        raise ValueError("give one of these only: a prompt, prompt_file, prompts_file")
    if unconditional:
        if given not in ([], [""]):
            raise ValueError("unconditional starts without a prompt: give none with it")
        return [""]
    if prompts_file is not None:
        return split_prompts(read_text(prompts_file), prompts_file)
    if not given and sys.stdin and sys.stdin.isatty():
        return None
    text = read_text("-" if prompt_file is None else prompt_file) if prompt is None else prompt
    if not text:
        raise ValueError("the prompt is empty: give one in quotes, or --unconditional to start without one")
    return [text]


def read_text(path):
    """The text of a file, or of the standard input for "-", less the line end at its very end."""
    try:
        if path == "-":
            content = sys.stdin.buffer.read() if sys.stdin else b""
        else:
            content = Path(os.path.expanduser(path)).read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: see byte {error.start}") from None
    return text.replace("\r\n", "\n").removesuffix("\n")


def split_prompts(text, path):
    """One prompt from each line; if a { at the beginning says that it is JSON lines, the line's "prompt"."""
    is_json_lines = text.lstrip().startswith("{")
    prompts = []
    for number, line in enumerate(text.rstrip("\n").split("\n"), 1):
        try:
            prompt = json.loads(line)["prompt"] if is_json_lines else line
            prompt.encode("utf-8")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise ValueError(
                f'{path}, line {number}: it is not a JSON object with a text as "prompt"'
            ) from None
        if not prompt:
            raise ValueError(f"{path}, line {number}: the prompt is empty")
        prompts.append(prompt)
    return prompts


def converse(answer, is_quiet):
    """Ask for prompts until the end of the input, Ctrl-D. Ctrl-C stops an answer, or clears the line."""
    if not is_quiet:
        print("Type a prompt. Ctrl-C stops an answer, Ctrl-D leaves.", file=sys.stderr)
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (gives input() its arrow keys and history; Windows has its own)
    while True:
        try:
            if not sys.stdout.isatty():
                print("> ", end="", file=sys.stderr, flush=True)
            prompt = input("> " if sys.stdout.isatty() else "")
            if prompt:
                answer([prompt])
        except KeyboardInterrupt:
            print(file=sys.stderr)
        except EOFError:
            print(file=sys.stderr)
            return
        except ValueError as error:
            print(error, file=sys.stderr)


def random_stream(seed, ids, n_before=0):
    """The seed of a text's own random numbers: they depend on its prompt, and not on what else is written.

    n_before: how many texts with this prompt there were before.
    """
    return None if seed is None else [seed, n_before, *ids]


# Results.


def write_text(encoder, ids, n_tokens_to_generate, stop, is_streaming, is_quiet):
    """Print the text of the ids, as they come or at the end, up to a stop string."""
    text_stream = TextStream(encoder, stop)
    text, n_tokens, start = "", 0, time.perf_counter()
    if not is_streaming:
        ids = progress_bar(ids, n_tokens_to_generate, is_quiet)
    try:
        for id in ids:
            n_tokens += 1
            text += text_stream.push(id)
            if is_streaming:
                piece, text = text, ""
                print(piece, end="", flush=True)
            if text_stream.has_stopped:
                break
    except KeyboardInterrupt:
        print(text + text_stream.finish(), flush=True)  # what there is
        raise
    print(text + text_stream.finish(), flush=True)
    print_statistics(n_tokens, start, is_quiet)


def write_json_lines(encoder, prompts, batch_size, task, seed, stop, logprobs, is_quiet):
    """Continue the prompts, batch_size at a time, and print a JSON line for each, in their order."""
    n_before = Counter()
    n_most = task["n_tokens_to_generate"]
    n_tokens, start = 0, time.perf_counter()
    with progress_bar(None, len(prompts) * n_most, is_quiet) as bar:
        for first in range(0, len(prompts), batch_size):
            batch = prompts[first : first + batch_size]
            inputs = [encoder.encode(prompt) or [task["stop_id"]] for prompt in batch]
            seeds = []
            for prompt, ids in zip(batch, inputs, strict=True):
                seeds.append(random_stream(seed, ids, n_before[prompt]))
                n_before[prompt] += 1
            results = complete(encoder, inputs, seeds, task, stop, logprobs, bar)
            for prompt, result in zip(batch, results, strict=True):
                write_above(bar, to_json({"prompt": prompt, **result}))
                n_tokens += len(result["tokens"])
                bar.total -= n_most - len(result["tokens"])
    print_statistics(n_tokens, start, is_quiet)


def complete(encoder, inputs, seeds, task, stop, logprobs, bar):
    """One batch of prompts -> a result for each: a dict, as it is printed."""
    streams = [TextStream(encoder, stop) for _ in inputs]
    results = [{"text": "", "tokens": [], "finish_reason": "length"} for _ in inputs]
    details = [[] for _ in inputs]

    def is_done(row, id):
        results[row]["text"] += streams[row].push(id)
        return streams[row].has_stopped

    for row, id, logits in generate_batch(inputs, seeds=seeds, is_done=is_done, **task):
        results[row]["tokens"].append(id)
        if logprobs is not None:
            details[row].append(describe(encoder, id, logits, logprobs))
        bar.update()
    for result, stream, detail in zip(results, streams, details, strict=True):
        result["text"] += stream.finish()
        if stream.has_stopped or len(result["tokens"]) < task["n_tokens_to_generate"]:
            result["finish_reason"] = "stop"
        if logprobs is not None:
            result["logprobs"] = detail
    return results


def describe(encoder, id, logits, n_best):
    """How likely a token was, and which tokens were the n_best likeliest."""
    log_probs = log_softmax(logits)

    def entry(id):
        return {"id": int(id), "token": encoder.decode([id]), "logprob": round(float(log_probs[id]), 4)}

    return {**entry(id), "top_logprobs": [entry(other) for other in np.argsort(-log_probs)[:n_best]]}


def write_scores(encoder, ids, model, stride, is_quiet):
    """Print the log-probability of each token but the first, then their sum and the perplexity."""
    total, n_scored = 0.0, 0
    with progress_bar(None, len(ids) - 1, is_quiet) as bar:
        for log_probs in score_windows(ids, **model, stride=stride):
            for log_prob in log_probs:
                n_scored += 1
                write_above(bar, f"{log_prob:10.4f}  {to_json(encoder.decode([ids[n_scored]]))}")
            total += math.fsum(log_probs)
            bar.update(len(log_probs))
    print(f"{total:10.4f}  in all, in nats")
    nats = -total / n_scored
    print(f"{math.exp(nats) if nats < 700 else math.inf:10.4f}  perplexity")


def to_json(value):
    """JSON that stdout can show whatever its encoding is: elsewhere than in Unicode with escapes."""
    encoding = sys.stdout.encoding or "ascii"
    return json.dumps(value, ensure_ascii=not encoding.lower().startswith("utf"))


# Progress.


def progress_bar(iterable, n_tokens, is_quiet):
    """A bar on a terminal's stderr, once it has taken two seconds."""
    from tqdm import tqdm  # here, where it slows no other start

    return tqdm(iterable, total=n_tokens, unit="token", delay=2, leave=False, disable=is_quiet or None)


def write_above(bar, line):
    """Print a line, in a terminal above the progress bar."""
    bar.write(line, file=sys.stdout)
    sys.stdout.flush()


def print_statistics(n_tokens, start, is_quiet):
    """One line on stderr; `start` is when the first token was begun, by time.perf_counter()."""
    if not is_quiet:
        seconds = time.perf_counter() - start
        print(f"{n_tokens} tokens, {seconds:.2f} s, {n_tokens / seconds:.1f} tokens/s", file=sys.stderr)
