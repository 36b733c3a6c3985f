"""Write results to stdout: streamed text, JSON lines, or scores."""

import json
import math
import sys
import time

from cli.progress import print_statistics, progress_bar, write_above
from generation.completions import complete
from generation.scoring import format_exp, score_windows
from generation.text_stream import TextStream


def write_text(encoder, ids, n_tokens_to_generate, stop, is_streaming, is_quiet):
    """Print the text of the ids up to a stop string, token by token or at the end.

    Ctrl-C prints the text that is held back, then raises KeyboardInterrupt.
    """
    text_stream = TextStream(encoder, stop)
    text, n_tokens, start = "", 0, time.perf_counter()
    if not is_streaming:
        ids = progress_bar(ids, n_tokens_to_generate, is_quiet)
    try:
        for token_id in ids:
            n_tokens += 1
            text += text_stream.push(token_id)
            if is_streaming:
                piece, text = text, ""  # before print, so that Ctrl-C inside it prints nothing twice
                print(piece, end="", flush=True)
            if text_stream.has_stopped:
                break
    except KeyboardInterrupt:
        print(text + text_stream.finish(), flush=True)
        raise
    print(text + text_stream.finish(), flush=True)
    print_statistics(n_tokens, start, is_quiet)


def write_json_lines(encoder, prompts, task, is_quiet, **options):
    """Print a JSON line for each prompt, in order. `task` and `options` are those of `complete`."""
    max_tokens = task["n_tokens_to_generate"]
    n_tokens, start = 0, time.perf_counter()
    with progress_bar(None, len(prompts) * max_tokens, is_quiet) as bar:
        results = complete(encoder, prompts, task, on_token=bar.update, **options)
        for prompt, result in zip(prompts, results, strict=True):
            write_above(bar, to_json({"prompt": prompt, **result}))
            n_tokens += len(result["tokens"])
            bar.total -= max_tokens - len(result["tokens"])
    print_statistics(n_tokens, start, is_quiet)


def write_scores(encoder, ids, model, stride, is_quiet):
    """Print the log-probability of each token after the first, their total, and the perplexity.

    Raises ValueError if there is only one token, which has no score.
    """
    if len(ids) < 2:
        raise ValueError("there is no token to score: the model has no token that begins a text")
    total, n_scored = 0.0, 0
    with progress_bar(None, len(ids) - 1, is_quiet) as bar:
        for log_probs in score_windows(ids, **model, stride=stride):
            for log_prob in log_probs:
                n_scored += 1
                write_above(bar, f"{log_prob:10.4f}  {to_json(encoder.decode([ids[n_scored]]))}")
            total += math.fsum(log_probs)
            bar.update(len(log_probs))
    print(f"{total:10.4f}  total, in nats")
    print(f"{format_exp(-total / n_scored)}  perplexity")


def to_json(value):
    """Encode as JSON that fits the encoding of stdout: unless it is a UTF, escape all but ASCII."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"  # io.StringIO has None
    return json.dumps(value, ensure_ascii=not encoding.lower().startswith("utf"))
