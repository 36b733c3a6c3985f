"""Millions of prompts continued, or of texts scored, by Ray Data: on this machine, or on many.

    printf '{"prompt": "Once upon a time"}\n{"prompt": "The king"}\n' > prompts.jsonl
    python experiments/ray_batch.py prompts.jsonl --out=results --model_size=demo --n_workers=2
    python -c "import pandas; print(pandas.read_parquet('results'))"

The rows are cut into parts. Each worker, a process that loads the model once, takes one part after the other
and writes part-00000012.parquet, which gets its name when it is whole. So the same command, given again, goes
on where it was: with the parts that are not there. What comes of a row depends on the row and the settings
alone, not on the worker or the rows beside it. So Ray can give the part of a worker that died to another.

Ray Data: https://docs.ray.io/en/latest/data/data.html
"""

import contextlib
import json
import logging
import os
import sys
import time
from itertools import islice
from pathlib import Path

from common import progress, write_whole

from cli import run
from commands import complete, progress_bar, random_stream
from gpt2 import score as score_ids
from sampling import check_sampling
from utils import find_model_dir, load_encoder_hparams_and_params

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    sys.exit('ray_batch.py: it needs more packages: pip install "ray[data]"')

ROOT = Path(__file__).resolve().parent.parent
CONTINUATION = pa.schema(
    {
        "prompt": pa.string(),
        "text": pa.string(),
        "tokens": pa.list_(pa.int64()),
        "finish_reason": pa.string(),
        "n_tokens": pa.int64(),
    }
)
SCORE = pa.schema(
    {"text": pa.string(), "log_prob": pa.float64(), "n_tokens": pa.int64(), "n_bytes": pa.int64()}
)


def read_rows(file, first=0, n_rows=None):
    """n_rows, or all, of the rows of a file of Parquet or JSON lines, from the first on: yield dicts."""
    end = None if n_rows is None else first + n_rows
    if Path(file).suffix == ".parquet":
        batches = pq.ParquetFile(file).iter_batches()
        yield from islice((row for batch in batches for row in batch.to_pylist()), first, end)
    else:
        with open(file, "rb") as lines:
            yield from map(json.loads, islice(lines, first, end))


def count_rows(file, column):
    """How many rows a file has; ValueError if one of them is not a dict with a text in the column."""
    n_rows = 0
    try:
        for row in read_rows(file):
            row[column].encode("utf-8")
            n_rows += 1
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ValueError(f'{file}, row {n_rows + 1}: there is no text as "{column}"') from None
    return n_rows


def cut_into_parts(files, column, part_size):
    """What each part is: the name of its results, the file of its rows, and the first of those."""
    places = [(str(file), n) for file in files for n in range(0, count_rows(file, column), part_size)]
    return [
        {"name": f"part-{number:08}.parquet", "file": file, "first": first}
        for number, (file, first) in enumerate(places)
    ]


class Worker:
    """A process with the model: called with one part after the other."""

    def __init__(self, out, batch_size, settings):
        self.encoder, hparams, params = load_encoder_hparams_and_params(settings["model"])
        self.model = {"params": params, "n_head": hparams["n_head"]}
        self.out, self.batch_size, self.settings = Path(out), batch_size, settings

    def __call__(self, part):
        """Write the results of a part -> how many texts and tokens they are."""
        column, part_size = self.settings["column"], self.settings["part_size"]
        texts = [row[column] for row in read_rows(part["file"], part["first"], part_size)]
        results = []
        for n in range(0, len(texts), self.batch_size):
            batch = texts[n : n + self.batch_size]
            results += map(self.score, batch) if column == "text" else self.generate(batch)
        unfinished = self.out / f".{part['name']}"
        schema = SCORE if column == "text" else CONTINUATION
        pq.write_table(pa.Table.from_pylist(results, schema), unfinished)
        os.replace(unfinished, self.out / part["name"])
        return {"n_texts": len(results), "n_tokens": sum(result["n_tokens"] for result in results)}

    def generate(self, prompts):
        """Prompts -> for each a row of CONTINUATION."""
        end_of_text = self.encoder.end_of_text
        inputs = [self.encoder.encode(prompt) or [end_of_text] for prompt in prompts]
        seeds = [random_stream(self.settings["seed"], ids) for ids in inputs]  # equal prompts, equal texts
        task = {**self.model, "stop_id": end_of_text, **self.settings["task"]}
        bar = progress_bar(None, 0, is_quiet=True)
        results = complete(self.encoder, inputs, seeds, task, stop=(), logprobs=None, bar=bar)
        rows = zip(prompts, results, strict=True)
        return [{"prompt": prompt, **result, "n_tokens": len(result["tokens"])} for prompt, result in rows]

    def score(self, text):
        """A text -> a row of SCORE: log_prob is in nats, of all tokens, the first after <|endoftext|>."""
        ids = [self.encoder.end_of_text, *self.encoder.encode(text)]
        log_prob = float(score_ids(ids, **self.model).sum())
        n_bytes = len(text.encode("utf-8"))
        return {"text": text, "log_prob": log_prob, "n_tokens": len(ids) - 1, "n_bytes": n_bytes}


def check_settings(out, settings):
    """Keep the settings beside the results; ValueError if what is there comes from other settings."""
    path = out / "_settings.json"  # with _, as what reads the folder as Parquet leaves that out
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != settings:
        raise ValueError(f"{out} has results of other settings, see {path.name} there: give another --out")
    out.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(settings, indent=2).encode())


def work_off(parts, n_workers, *worker_arguments):
    """Start Ray here, or join the cluster at RAY_ADDRESS; yield what workers return for the parts."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry; read when Ray is imported
    import ray.data  # here, where it slows nothing else

    n_workers = min(n_workers, len(parts))
    is_cluster = "RAY_ADDRESS" in os.environ
    here = {"address": "local", "num_cpus": n_workers, "object_store_memory": 2**27}  # bytes
    quiet = {"include_dashboard": False, "logging_level": logging.ERROR, "log_to_driver": False}
    ray.init(**({} if is_cluster else here), **quiet)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = -1  # a part may take long

    n_cores = int(ray.cluster_resources()["CPU"]) if is_cluster else os.cpu_count()
    n_threads = max(1, n_cores // n_workers)
    env = {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": str(n_threads)}  # read when NumPy is imported
    workers = ray.data.ActorPoolStrategy(size=n_workers, max_tasks_in_flight_per_actor=1)  # none queues up
    dataset = ray.data.from_items(parts, override_num_blocks=len(parts)).map(
        Worker, fn_constructor_args=worker_arguments, compute=workers, runtime_env={"env_vars": env}
    )
    try:
        yield from dataset.iter_rows()
    except ray.exceptions.RayError as error:
        raise OSError(f"a worker failed: {error}") from None
    finally:
        ray.shutdown()


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
    batch_size: int = 8,
    part_size: int = 1000,
):
    """Continue the prompts of JSON lines or Parquet files, or score texts; the results are Parquet files.

    Args:
        prompts: a file, .parquet or else JSON lines, or a folder with .parquet, .jsonl and .json files. Each
            row has a "prompt", or with score a "text".
        out: the folder for the results.
        n_workers: how many processes; the processor cores are shared among them.
        model_size: as for gpt2.py. In a cluster all machines need the model's files, in the same place.
        score: do not continue prompts, but say how likely texts are.
        n_tokens_to_generate: how many tokens to add at most.
        temperature: 0 always takes the likeliest token. By default 0, but 1 with top_p or seed.
        top_p: draw only from the smallest set of likeliest tokens that together reach this probability.
        seed: a whole number, by default 0; with the same one chance repeats itself.
        batch_size: how many texts a worker continues at once.
        part_size: how many rows a part has; when a worker dies, at most so many are done again.
    """
    start = time.perf_counter()
    if not out:
        raise ValueError("--out is missing: the folder for the results")
    if temperature is None:
        temperature = 0.0 if top_p == 1 and seed is None else 1.0
    check_sampling(temperature, 0, top_p, min_p=0, repetition_penalty=1)
    task = {"n_tokens_to_generate": n_tokens_to_generate, "temperature": temperature, "top_p": top_p}
    out, path = (Path(name).expanduser().absolute() for name in (out, prompts))
    column = "text" if score else "prompt"
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in (".parquet", ".jsonl", ".json"))
    parts = cut_into_parts(files, column, part_size)
    if not parts:
        raise ValueError(f"{path}: there are no rows")
    model_dir = str(find_model_dir(model_size).absolute())
    load_encoder_hparams_and_params(model_dir)  # what is wrong with it, or to be prepared, comes up once
    settings = {"rows": str(path), "n_parts": len(parts), "part_size": part_size, "column": column}
    settings |= {"model": model_dir, "seed": seed or 0, "task": task}
    check_settings(out, settings)

    missing = [part for part in parts if not (out / part["name"]).exists()]
    counts = work_off(missing, n_workers, str(out), batch_size, settings) if missing else []
    with contextlib.redirect_stdout(sys.stderr):  # Ray prints there when a worker dies
        counts = list(progress(counts, len(missing), "part"))
    n_texts, n_tokens = (sum(count[name] for count in counts) for name in ("n_texts", "n_tokens"))
    seconds = time.perf_counter() - start
    rate = f"{n_tokens / seconds:.1f} tokens/s"
    print(f"{n_texts} texts, {n_tokens} tokens, {seconds:.2f} s, {rate}", file=sys.stderr)


if __name__ == "__main__":
    run(main)
