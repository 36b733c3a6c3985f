"""Continue millions of prompts, or score millions of texts, with Ray Data: on this machine or on a cluster.

    printf '{"prompt": "Once upon a time"}\n{"prompt": "The king"}\n' > prompts.jsonl
    python experiments/ray_batch.py prompts.jsonl --out=results --model_size=demo --n_workers=2
    python -c "import pandas; print(pandas.read_parquet('results'))"

The script splits the rows into parts. Each worker is a process that loads the model once. It processes one
part after the other and writes files such as part-00000012.parquet, atomically. The same command resumes an
interrupted run: it computes only the missing parts. The result of a row depends only on the row and the
settings, not on the worker or the batch. So if a worker dies, Ray can give its part to another.

Ray Data: https://docs.ray.io/en/latest/data/data.html
"""

import contextlib
import sys
import time
from pathlib import Path

from helpers.batch_parts import CONTINUATION, SCORE, check_settings, read_texts, split_into_parts, write_part
from helpers.progress_bar import progress_bar
from helpers.ray_workers import ray_workers

from cli.exit_status import run
from generation.completions import complete
from generation.scoring import score as score_ids
from gpt2 import check_sampling
from utils import find_model_dir, load_encoder_hparams_and_params


class Worker:
    """A process with the model. Ray calls it with one part after the other."""

    def __init__(self, out, batch_size, settings):
        self.encoder, hparams, params = load_encoder_hparams_and_params(settings["model"])
        self.model = {"params": params, "n_head": hparams["n_head"]}
        self.out, self.batch_size, self.settings = Path(out), batch_size, settings
        self.file = None  # whose texts the worker holds: the next part is often of the same file

    def __call__(self, part):
        """Write the result of a part. Returns the number of its texts and tokens."""
        column, part_size = self.settings["column"], self.settings["part_size"]
        if part["file"] != self.file:
            self.file, self.texts = part["file"], read_texts(part["file"], column)
        texts = self.texts[part["first"] : part["first"] + part_size]
        if column == "text":
            results, schema = [self.score(text) for text in texts], SCORE
        else:
            results, schema = self.generate(texts), CONTINUATION
        write_part(self.out / part["name"], results, schema)
        return {"n_texts": len(results), "n_tokens": sum(result["n_tokens"] for result in results)}

    def generate(self, prompts):
        """Continue prompts. Returns a row of CONTINUATION for each; equal prompts get equal texts."""
        task = {**self.model, "stop_id": self.encoder.stop_ids, **self.settings["task"]}
        distinct = list(dict.fromkeys(prompts))
        completions = complete(self.encoder, distinct, task, self.settings["seed"], self.batch_size)
        results = dict(zip(distinct, completions, strict=True))
        return [
            {"prompt": prompt, **results[prompt], "n_tokens": len(results[prompt]["tokens"])}
            for prompt in prompts
        ]

    def score(self, text):
        """Score a text. Returns a row of SCORE: log_prob is the sum over all tokens, in nats.

        The token that begins a text precedes it, so that its first token has a score too.
        """
        ids = [*self.encoder.start_ids, *self.encoder.encode(text)]
        log_prob = float(score_ids(ids, **self.model).sum())
        n_bytes = len(text.encode("utf-8"))
        return {"text": text, "log_prob": log_prob, "n_tokens": len(ids) - 1, "n_bytes": n_bytes}


def process_parts(parts, n_workers, *worker_arguments):
    """Distribute the parts among workers. Yield the worker's return value for each part."""
    with ray_workers(min(n_workers, len(parts))) as (ray_data, workers):
        dataset = ray_data.from_items(parts, override_num_blocks=len(parts))
        yield from dataset.map(Worker, fn_constructor_args=worker_arguments, **workers).iter_rows()


def main(
    prompts: str,
    out: str = None,
    n_workers: int = 1,
    model_size: str = None,
    score: bool = False,
    n_tokens_to_generate: int = 40,
    temperature: float = None,
    top_p: float = 1.0,
    seed: int = None,
    batch_size: int = 32,
    part_size: int = 1000,
):
    """Continue prompts or score texts from JSON lines or Parquet files. The results are Parquet files.

    Args:
        prompts: a .parquet file, a file that gpt2.py can read as its prompts_file, or a folder. In a folder,
            the script reads .parquet, .jsonl, .json, .jsonl.gz and .json.gz files. Each row has a "prompt",
            or with --score a "text".
        out: the folder for the results.
        n_workers: the number of processes. They share the CPU cores.
        model_size: the model, as for gpt2.py. All machines of a cluster need its files in the same place.
        score: write the log-probabilities of texts instead of continuations.
        n_tokens_to_generate: the maximum number of new tokens per prompt.
        temperature: 0 is greedy. The default is 0, or 1 if top_p or seed is given.
        top_p: sample from the smallest set of most probable tokens that reach this total probability.
        seed: an integer that makes sampling repeatable. The default is 0.
        batch_size: the maximum number of texts in a batch.
        part_size: the number of rows in a part. If a worker dies, it loses at most one part.
    """
    start = time.perf_counter()
    if not out:
        raise ValueError("--out is missing: the folder for the results")
    if temperature is None:
        temperature = 0.0 if top_p == 1 and seed is None else 1.0
    check_sampling(temperature, 0, top_p)
    task = {"n_tokens_to_generate": n_tokens_to_generate, "temperature": temperature, "top_p": top_p}
    out, path = (Path(name).expanduser().absolute() for name in (out, prompts))
    column = "text" if score else "prompt"
    parts, skipped = split_into_parts(path, column, part_size)
    model_dir = str(find_model_dir(model_size).absolute())
    load_encoder_hparams_and_params(model_dir)  # reports errors and converts the weights, before Ray starts
    settings = {"rows": str(path), "n_parts": len(parts), "part_size": part_size, "column": column}
    settings |= {"model": model_dir, "seed": seed or 0, "task": task}
    check_settings(out, settings)

    missing = [part for part in parts if not (out / part["name"]).exists()]
    counts = process_parts(missing, n_workers, str(out), batch_size, settings) if missing else []
    with contextlib.redirect_stdout(sys.stderr):  # Ray prints to stdout when a worker dies
        counts = list(progress_bar(counts, len(missing), "part"))
    n_texts, n_tokens = (sum(count[name] for count in counts) for name in ("n_texts", "n_tokens"))
    seconds = time.perf_counter() - start
    if skipped:
        print(skipped, file=sys.stderr)
    rate = f"{n_tokens / seconds:.1f} tokens/s"
    print(f"{n_texts} texts, {n_tokens} tokens, {seconds:.2f} s, {rate}", file=sys.stderr)


if __name__ == "__main__":
    run(main)
