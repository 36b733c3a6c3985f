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
import json
import logging
import os
import sys
import time
from pathlib import Path

from helpers.output_files import write_atomically
from helpers.progress_bar import progress_bar

from cli.exit_status import as_one_line, run
from cli.prompts import read_text, split_texts
from generation.completions import complete
from generation.scoring import score as score_ids
from gpt2 import check_sampling
from utils import find_model_dir, load_encoder_hparams_and_params

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    sys.exit('ray_batch.py: needs Ray Data: pip install "ray[data]"')

ROOT = Path(__file__).resolve().parents[1]
SUFFIXES = (".parquet", ".jsonl", ".json", ".jsonl.gz", ".json.gz")  # of the files in a folder
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


def find_files(path):
    """List a folder. Returns the files to read, and the names that the script skips."""
    if not path.is_dir():
        return [path], []
    files, skipped = [], []
    for file in sorted(path.iterdir()):
        is_hidden = file.name.startswith((".", "_"))  # readers of Parquet folders skip both
        if file.is_file() and not is_hidden and file.name.lower().endswith(SUFFIXES):
            files.append(file)
        else:
            skipped.append(file.name)
    return files, skipped


def describe_skipped(names):
    """Returns one line with at most ten of the names: "skipped 12 in the folder: a.csv, b.csv, ..."."""
    shown = [*names[:10], "..."] if len(names) > 10 else names
    return as_one_line(f"skipped {len(names)} in the folder: {', '.join(shown)}")


def read_texts(file, column):
    """Read a column of a Parquet file, or the texts of another file. Raises ValueError if one is missing."""
    if not str(file).lower().endswith(".parquet"):
        return list(split_texts(read_text(file), file, column).values())
    n_texts = 0
    try:
        texts = pq.ParquetFile(file).read(columns=[column])[column].to_pylist()
        for text in texts:
            text.encode("utf-8")
            n_texts += 1
    except (ValueError, LookupError, AttributeError):
        raise ValueError(f'{file}, row {n_texts + 1}: there is no text as "{column}"') from None
    return texts


def split_into_parts(files, column, part_size):
    """Returns a dict per part: the name of its result, the file of its texts, and the first text."""
    places = [(str(file), n) for file in files for n in range(0, len(read_texts(file, column)), part_size)]
    return [
        {"name": f"part-{number:08}.parquet", "file": file, "first": first}
        for number, (file, first) in enumerate(places)
    ]


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
        temporary = self.out / f".{part['name']}"
        pq.write_table(pa.Table.from_pylist(results, schema), temporary)
        os.replace(temporary, self.out / part["name"])
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


def check_settings(out, settings):
    """Store the settings with the results. Raises ValueError if the folder has results of other settings."""
    path = out / "_settings.json"  # readers of Parquet folders skip names with _
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != settings:
        raise ValueError(f"{out} has results of other settings, see {path.name} there: choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(settings, indent=2).encode())


def process_parts(parts, n_workers, *worker_arguments):
    """Start Ray here, or join the cluster at RAY_ADDRESS. Yield the worker's return value for each part."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry; Ray reads this on import
    import ray.data  # a slow import: only runs with work to do need it

    n_workers = min(n_workers, len(parts))
    is_cluster = "RAY_ADDRESS" in os.environ
    local = {"address": "local", "num_cpus": n_workers, "object_store_memory": 2**27}  # bytes
    quiet = {"include_dashboard": False, "logging_level": logging.ERROR, "log_to_driver": False}
    ray.init(**({} if is_cluster else local), **quiet)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = -1  # no timeout: a part may take long

    n_cores = int(ray.cluster_resources()["CPU"]) if is_cluster else os.cpu_count()
    n_threads = max(1, n_cores // n_workers)
    env = {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": str(n_threads)}  # NumPy reads this on import
    workers = ray.data.ActorPoolStrategy(size=n_workers, max_tasks_in_flight_per_actor=1)  # no queues
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
    files, skipped = find_files(path)
    parts = split_into_parts(files, column, part_size)
    if not parts:
        hint = f"; {describe_skipped(skipped)}" if skipped else ""
        raise ValueError(f"{path}: there are no rows{hint}")
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
        print(describe_skipped(skipped), file=sys.stderr)
    rate = f"{n_tokens / seconds:.1f} tokens/s"
    print(f"{n_texts} texts, {n_tokens} tokens, {seconds:.2f} s, {rate}", file=sys.stderr)


if __name__ == "__main__":
    run(main)
