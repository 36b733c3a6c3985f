"""Measure experiments/serve.py: the latency of one completion, and the speed with one client and with many.

    pip install -r experiments/requirements-dev.txt && python benchmarks/serving.py

Prints a table. Latency is a median. `direct` calls generate_batch without a server.
"""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import random_model  # noqa: F401  puts the project and tests/ on sys.path
from support.api_server import running_server

from cli.exit_status import run
from generation.batches import generate_batch
from utils import load_encoder_hparams_and_params

PROMPT = "Once upon a time there was a"
N_TOKENS = 16
N_REQUESTS = 160
N_CLIENTS = (1, 4, 16)


def complete(client, number):
    """Send a request. Returns its seconds and its number of new tokens."""
    fields = {"prompt": PROMPT, "max_tokens": N_TOKENS, "seed": number}
    start = time.perf_counter()
    response = client.post("/v1/completions", json=fields)
    response.raise_for_status()
    return time.perf_counter() - start, response.json()["usage"]["completion_tokens"]


def measure_clients(client, n_clients):
    """Send N_REQUESTS from concurrent clients. Returns the median latency, and tokens per second."""
    start = time.perf_counter()
    with ThreadPoolExecutor(n_clients) as threads:
        results = list(threads.map(lambda number: complete(client, number), range(N_REQUESTS)))
    seconds = time.perf_counter() - start
    latencies, n_tokens = zip(*results, strict=True)
    return statistics.median(latencies), sum(n_tokens) / seconds


def measure_direct(model_size, n_batch):
    """Generate as many tokens without a server. Returns the median seconds of a batch, and tokens/s."""
    encoder, hparams, params = load_encoder_hparams_and_params(model_size)
    prompts = [encoder.encode(PROMPT)] * n_batch
    times, n_tokens = [], 0
    for _ in range(N_REQUESTS // n_batch):
        start = time.perf_counter()
        steps = generate_batch(prompts, params, hparams["n_head"], N_TOKENS, temperature=1.0)
        n_tokens += len(list(steps))
        times.append(time.perf_counter() - start)
    return statistics.median(times), n_tokens / sum(times)


def print_row(name, n_texts, latency, speed):
    print(f"| {name} | {n_texts} | {1000 * latency:.1f} | {speed:.0f} |", flush=True)


def main(model_size: str = "demo"):
    """Measure the server and print a table.

    Args:
        model_size: the model, as for gpt2.py.
    """
    print(f"{model_size}, {N_TOKENS} tokens per completion\n")
    print("| | clients, or texts per batch | latency, ms | tokens/s |\n|---|---|---|---|")
    with (
        running_server(model_size=model_size) as (url, _),
        httpx.Client(base_url=url, timeout=600, trust_env=False) as client,
    ):
        complete(client, 0)
        for n_clients in N_CLIENTS:
            print_row("serve.py", n_clients, *measure_clients(client, n_clients))
    for n_batch in N_CLIENTS:
        print_row("direct", n_batch, *measure_direct(model_size, n_batch))


if __name__ == "__main__":
    run(main)
