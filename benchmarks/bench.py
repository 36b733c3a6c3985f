"""The time of this project, compared with the limits of the machine and of NumPy.

    pip install -r benchmarks/requirements.txt && python benchmarks/bench.py

The weights are random, in the shapes of the given size. Every round measures everything once, so that other
load on the machine affects all figures alike. All figures are medians of the rounds. The limit of the model
is its bare matrix products (peers.MatrixProducts). The limit of a start is the import of NumPy.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from compare import MB, PROMPT_LENGTHS, describe_machine
from peers import MatrixProducts, ThisProject, answer
from random_model import HPARAMS, ROOT, write_random_model
from tqdm import tqdm

from cli.exit_status import run
from encoder import get_encoder
from generation.prompt_lookup import generate_with_lookup
from gpt2 import generate

N_TOKENS = 16  # to decode in a measurement
PROMPT = "Alan Turing theorized that computers would one day become"  # 10 tokens


def seconds_for(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def run_text(peer, ids):
    """Seconds to the first token, and for each later token (median)."""
    times = answer(peer, [ids], N_TOKENS)
    return {"prompt_s": times["prompt_s"], "decode_s": np.median(times["decode_s"])}


def run_lookup(model, ids):
    """Speed of greedy decoding with prompt lookup, divided by the speed without."""
    plain = seconds_for(lambda: list(generate(ids, *model, 4 * N_TOKENS)))
    return {"times": plain / seconds_for(lambda: list(generate_with_lookup(ids, *model, 4 * N_TOKENS)))}


def run_process(*arguments):
    """Seconds to the first byte on stdout."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE)
    process.stdout.read(1)
    seconds = time.perf_counter() - start
    process.communicate()
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)}: exit status {process.returncode}")
    return {"first_s": seconds}


def run_parts(folder):
    """The parts of a start, in seconds: one process runs them in turn and prints the times."""
    code = f"""import time; times = [time.perf_counter()]
def mark(): times.append(time.perf_counter())
import numpy; mark()
import cli.exit_status, cli.flags, numpy.random; mark()
encoder, hparams, params = cli.flags.load_encoder_hparams_and_params({str(folder)!r}); mark()
next(cli.flags.generate(encoder.encode({PROMPT!r}), params, hparams["n_head"], 1)); mark()
print(*times)"""
    output = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True)
    names = ("NumPy", "the other modules", "tokenizer and weights", "first token")
    return dict(zip(names, np.diff([float(time) for time in output.split()]), strict=True))


def tasks_for(folder):
    """All measurements: {name: a function without arguments that returns {unit: number}}."""
    rng = np.random.default_rng(0)
    ours, bare = (peer(folder, None, "float32") for peer in (ThisProject, MatrixProducts))
    model, n_vocab = (ours.params, ours.n_head), len(ours.params["wte"])
    tasks = {}
    for n in PROMPT_LENGTHS:
        ids = rng.integers(n_vocab, size=n).tolist()
        tasks[f"prompt of {n}"] = partial(run_text, ours, ids)
        tasks[f"bare products, {n}"] = partial(run_text, bare, ids)
    tasks["prompt lookup, repetitive text"] = partial(run_lookup, model, list(range(100, 110)) * 10)
    tasks["prompt lookup, random text"] = partial(run_lookup, model, rng.integers(n_vocab, size=100).tolist())
    tasks["import numpy"] = partial(run_process, "-c", "import numpy; print()")
    command = ("gpt2.py", f"--model_size={folder}", "--n_tokens_to_generate=1", "--quiet", PROMPT)
    tasks["first token"] = partial(run_process, *command)
    tasks["parts of a start"] = partial(run_parts, folder)
    for size in (1, 2):
        encoder = get_encoder(folder.name, folder.parent)
        tasks[f"{size} MB of one letter"] = lambda encoder=encoder, size=size: {
            "s": seconds_for(lambda: encoder.bpe.__wrapped__("a" * size * 10**6))
        }
    return tasks


def report(figures, machine, weights_mb):
    """The medians {task: {unit: number}} as Markdown, with the ratios that follow from them."""
    lines = ["| tokens in the prompt | tokens/s | % of limit | GB/s read | prompt, ms | % of limit |"]
    lines.append("|--:|--:|--:|--:|--:|--:|")
    for n in PROMPT_LENGTHS:
        ours, limit = figures[f"prompt of {n}"], figures[f"bare products, {n}"]
        per_s, ms = 1 / ours["decode_s"], 1000 * ours["prompt_s"]
        cells = [
            n,
            f"{per_s:.1f}",
            f"{100 * limit['decode_s'] * per_s:.0f}",
            f"{weights_mb * per_s / 1000:.1f}",
        ]
        cells += [f"{ms:.0f}", f"{100 * limit['prompt_s'] / ours['prompt_s']:.0f}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    first, numpy_s = figures["first token"], figures["import numpy"]["first_s"]
    bare_s = figures["bare products, 10"]["prompt_s"]
    parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in figures["parts of a start"].items())
    more_s = first["first_s"] - numpy_s - bare_s
    letters_s = [figures[f"{size} MB of one letter"]["s"] for size in (1, 2)]
    times = [figures[f"prompt lookup, {text} text"]["times"] for text in ("repetitive", "random")]
    lines += [
        "",
        f"- first token of a process: {first['first_s']:.2f} s, {more_s:.2f} s more than the import of NumPy "
        f"({numpy_s:.2f}) and the bare products of its prompt ({bare_s:.2f}); its parts: {parts}",
        f"- tokenizer: 1 MB of one letter in {letters_s[0]:.1f} s, 2 MB in {letters_s[1]:.1f} s",
        f"- prompt lookup: {times[0]:.2f} times as fast as plain greedy decoding after repetitive text, "
        f"{times[1]:.2f} after random tokens",
        *(f"- {name}: {value}" for name, value in machine.items()),
    ]
    return "\n".join(lines) + "\n"


def main(model_size: str = "124M", rounds: int = 5, out: str = "benchmarks/results"):
    """Measure, print a table, and write bench-<model_size>.json and .md.

    Args:
        model_size: the size that gives the shapes, 124M to 1558M.
        rounds: the number of rounds.
        out: the folder for both files.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        folder = Path(folder)
        write_random_model(folder, HPARAMS[model_size])
        weights_mb = (folder / "model.ckpt.data-00000-of-00001").stat().st_size / MB
        tasks = tasks_for(folder)
        samples = {name: [] for name in tasks}
        for name in tqdm(list(tasks) * rounds, leave=False, disable=None):
            samples[name].append(tasks[name]())
    figures = {
        name: {unit: float(np.median([sample[unit] for sample in found])) for unit in found[0]}
        for name, found in samples.items()
    }
    machine = describe_machine([], os.cpu_count()) | {"model": f"{model_size}'s shapes", "rounds": rounds}
    table = report(figures, machine, weights_mb)
    Path(out).mkdir(parents=True, exist_ok=True)
    path = Path(out, f"bench-{model_size}")
    path.with_suffix(".json").write_text(
        json.dumps({"machine": machine, "samples": samples}, indent=1) + "\n"
    )
    path.with_suffix(".md").write_text(table, encoding="utf-8")
    print(table)


if __name__ == "__main__":
    run(main)
