"""Compare this project with other engines that run GPT-2: same weights, same threads, same minutes.

    pip install -r benchmarks/requirements.txt && python benchmarks/compare.py

Weights and prompts are random, in the shapes of 124M; this does not affect the time. Each engine runs in its
own process (peers.py), one at a time. First, all engines must agree on the logits of a text. Then each round
measures everything once, so that other load on the machine affects all engines alike. The figures are medians
of the rounds. An engine that fails is left out from then on, and the report says why.
"""

import contextlib
import importlib.metadata
import json
import os
import platform
import signal
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from peers import PEERS
from random_model import ROOT
from report import OURS, report
from tokenizer_speed import TOKENIZERS
from tqdm import tqdm
from workers import Engine, run_script

from cli.exit_status import run

PROMPT_LENGTHS = (10, 128, 512, 960)  # tokens
BATCH_SIZES = (2, 4, 8, 16, 32)  # texts; a batch of one is the first length above
N_CHECKED = 4  # texts in the batch whose ids must equal those of each text alone
MIN_CORRELATION = 0.99  # between logits and ours, in any precision
MB = 1e6


def is_installed(package):
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package) is not None
    return False


def describe_machine(packages, n_threads):
    """The machine and the software: {name: text}."""
    cpu = platform.processor()
    with contextlib.suppress(OSError):
        cpu = Path("/proc/cpuinfo").read_text().partition("model name\t: ")[2].partition("\n")[0] or cpu
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "CPU": f"{cpu}, {os.cpu_count()} cores, {n_threads} threads used",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "NumPy": f"{np.__version__} with {blas['name']} {blas['version']}",
    } | {package: importlib.metadata.version(package) for package in packages}


class Failures(dict):
    """{name of an engine or tokenizer: why it takes no further part}."""

    @contextlib.contextmanager
    def record(self, name):
        """Record an error of the block, instead of raising it."""
        try:
            yield
        except (OSError, ValueError, ArithmeticError) as error:
            self[name] = str(error)
            tqdm.write(f"compare.py: {name}: {error}", file=sys.stderr)


def run_with_logits(engine, ids, path):
    """Continue a text. Returns the new ids, and the logits [n_tokens, n_vocab] that they were chosen from."""
    new_ids = engine.run([ids], logits=str(path))["ids"][0]
    return new_ids, np.load(path)


def check_logits(engine, ids, ours, path):
    """Compare the logits with ours. Raises ChildProcessError if they differ.

    Args:
        ours: our new ids and logits, as run_with_logits returns them.
    """
    our_ids, our_logits = ours
    new_ids, logits = run_with_logits(engine, ids, path)
    n_same = int(np.argmin([*np.equal(our_ids[: len(new_ids)], new_ids), False]))
    logits = logits[: n_same + 1].ravel()  # after a different token, the texts differ
    expected = our_logits.ravel()[: logits.size]
    difference, correlation = float(np.abs(logits - expected).max()), np.corrcoef(logits, expected)[0, 1]
    limit = engine.peer.tolerance if engine.precision == "float32" else np.inf
    if not (difference <= limit and correlation >= MIN_CORRELATION):
        raise ChildProcessError(f"logits differ by {difference:.1e}, r = {correlation:.4f}")
    return {"difference": difference, "correlation": correlation, "n_same": n_same}


def check_batch(engine, prompts):
    """Compare the ids of a batch with those of each text alone. Raises ChildProcessError if most differ.

    Rounding can swap two tokens that are almost equally probable, so a few may differ.
    """
    batch = engine.run(prompts, n_tokens=7)["ids"]
    alone = [engine.run([prompt], n_tokens=7)["ids"][0] for prompt in prompts]
    share = float(np.mean(np.equal(batch, alone)))
    if share < 0.5:
        raise ChildProcessError(
            f"only {100 * share:.0f} % of the ids in a batch equal those of each text alone"
        )
    return {"batch": share}


def measure_text(engine, prompts):
    answer, n_seq = engine.run(prompts), len(prompts[0])
    tokens_per_s = 1 / np.median(answer["decode_s"])
    figures = {("prompt", n_seq): 1000 * answer["prompt_s"], ("decode", n_seq): tokens_per_s}
    if n_seq == PROMPT_LENGTHS[0] and "batch" in engine.peer.measures:
        figures["batch", 1] = tokens_per_s
    return figures


def measure_batch(engine, prompts):
    return {("batch", len(prompts)): len(prompts) / np.median(engine.run(prompts)["decode_s"])}


def measure_start(engine, prompts):
    seconds, _, n_bytes = engine.start(prompts[0])
    return {("start", len(prompts[0])): seconds, ("memory", len(prompts[0])): n_bytes / MB}


def measure_tokenizer(name, text_file, expected, log):
    """MB per second. Raises ChildProcessError if the ids differ from the expected ones."""
    result = json.loads(run_script("tokenizer_speed.py", [name, text_file], log, 1))
    if expected.setdefault("sha256", result["sha256"]) != result["sha256"]:
        raise ChildProcessError("its ids differ from those of this project")
    return {("tokenizer", 1): result["mb_per_s"]}


def plan(n_vocab, n_ctx):
    """What to measure with each engine in a round: (kind, function, prompts)."""
    rng = np.random.default_rng(0)

    def prompts(n_batch, n_seq):
        return rng.integers(n_vocab, size=(n_batch, n_seq)).tolist()

    lengths = [n for n in PROMPT_LENGTHS if n + PEERS[OURS][0].n_tokens <= n_ctx]
    tasks = [("text", measure_text, prompts(1, n)) for n in lengths]
    tasks += [("batch", measure_batch, prompts(n, PROMPT_LENGTHS[0])) for n in BATCH_SIZES]
    return [*tasks, ("start", measure_start, prompts(1, PROMPT_LENGTHS[0]))]


def project_text():
    """A text for the tokenizers: the documents and the code of this project."""
    folders = [ROOT / name for name in ("docs", "loading", "experiments", "tests")]
    paths = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".md", ".py")]
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted([*ROOT.glob("*.md"), *paths]))


def load_engines(names, model, folder, n_threads, failures, stack):
    """Convert and load the model for each engine. The stack ends their processes."""
    engines = []
    for number, name in enumerate(tqdm(names, desc="loading", leave=False, disable=None)):
        own_folder = folder / str(number)
        own_folder.mkdir()
        with failures.record(name):
            engines.append(Engine(name, model, own_folder, n_threads, stack))
    return engines


def check_engines(engines, n_vocab, failures, path):
    """Check the logits of each model, and its batches. Returns {name: what was found}."""
    rng = np.random.default_rng(1)
    ids = rng.integers(n_vocab, size=100).tolist()
    prompts = rng.integers(n_vocab, size=(N_CHECKED, PROMPT_LENGTHS[0])).tolist()
    ours = run_with_logits(engines[0], ids, path)
    agreement = {}
    for engine in tqdm([e for e in engines if e.peer.is_model], desc="checking", leave=False, disable=None):
        with failures.record(engine.name):
            found = check_logits(engine, ids, ours, path)
            if "batch" in engine.peer.measures:
                found |= check_batch(engine, prompts)
            agreement[engine.name] = found
    return agreement


def measure(engines, tasks, tokenizers, text_file, rounds, failures):
    """Returns {name: {measure: {number of tokens or texts: [one figure per round]}}}, tokenizers included."""
    samples = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    steps = [
        (engine.name, task, engine, prompts)
        for kind, task, prompts in tasks
        for engine in engines
        if kind in engine.peer.measures
    ]
    expected = {}
    log = text_file.with_name("log.txt")
    steps += [(name, measure_tokenizer, name, text_file, expected, log) for name in tokenizers]
    for name, task, *arguments in tqdm(steps * rounds, desc="measuring", leave=False, disable=None):
        if name not in failures:
            with failures.record(name):
                for (kind, n), figure in task(*arguments).items():
                    samples[name][kind][n].append(float(figure))
    return samples


def compare(names, rounds, model, text, n_threads):
    """Start all installed engines, check and measure them. Returns the content of compare.json."""
    packages = {name: PEERS[name][0].packages for name in names}
    packages |= {name: required for name, (required, _) in TOKENIZERS.items()}
    missing = [name for name in packages if not all(map(is_installed, packages[name]))]
    names = [name for name in names if name not in missing]
    tokenizers = [name for name in TOKENIZERS if name not in missing]
    failures = Failures()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, contextlib.ExitStack() as stack:
        folder = Path(folder)
        text_file = folder / "text.txt"
        content = Path(text).read_text(encoding="utf-8") if text else project_text()
        text_file.write_text(content, encoding="utf-8")
        if model is None:
            model = folder / "model"
            model.mkdir()
            run_script("random_model.py", [model], folder / "log.txt", n_threads)
        hparams = json.loads(Path(model, "hparams.json").read_text())
        tasks = plan(hparams["n_vocab"], hparams["n_ctx"])
        engines = load_engines(names, model, folder, n_threads, failures, stack)
        if OURS in failures:
            raise ChildProcessError(f"{OURS}: {failures[OURS]}")
        agreement = check_engines(engines, hparams["n_vocab"], failures, folder / "logits.npy")
        samples = measure(engines, tasks, tokenizers, text_file, rounds, failures)
    used = dict.fromkeys(package for name in names + tokenizers for package in packages[name])
    about = {
        "machine": describe_machine(used, n_threads),
        "rounds": rounds,
        "text_mb": len(content.encode("utf-8")) / MB,
    }
    return about | {"not_installed": missing, "failed": failures, "agreement": agreement, "samples": samples}


def select_engines(engines):
    """Names in PEERS. `engines` has names of engines, or names with a precision, with commas between them."""
    wanted = [name.strip() for name in engines.split(",")]
    known = {*PEERS, *(peer.engine for peer, _ in PEERS.values())}
    if unknown := [name for name in wanted if name not in known]:
        raise ValueError(f"unknown engine {unknown[0]!r}: use some of {', '.join(sorted(known))}")
    return [name for name, (peer, _) in PEERS.items() if name == OURS or {name, peer.engine} & set(wanted)]


def main(
    engines: str = None,
    rounds: int = 3,
    out: str = "benchmarks/results",
    folder: str = None,
    text: str = None,
    n_threads: int = None,
    report_only: bool = False,
):
    """Compare, print the tables, and write compare.json, compare.md and compare.png to the folder `out`.

    Args:
        engines: some engines, with commas between them, such as llama.cpp,CTranslate2. The default is all.
        rounds: the number of rounds.
        out: the folder for the results.
        folder: a model in OpenAI's five files. The default is a random model in a temporary folder.
        text: a file for the tokenizers. The default is the documents and the code of this project.
        n_threads: threads per engine. The default is the number of cores.
        report_only: only write compare.md and compare.png, from compare.json.
    """
    names = select_engines(engines) if engines else list(PEERS)
    out = Path(out)
    if not is_installed("matplotlib"):
        raise OSError("matplotlib is missing: pip install -r benchmarks/requirements.txt")
    out.mkdir(parents=True, exist_ok=True)
    if not report_only:
        results = compare(names, rounds, folder, text, n_threads or os.cpu_count())
        (out / "compare.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    results = json.loads((out / "compare.json").read_text(encoding="utf-8"))
    (out / "compare.md").write_text(report(results), encoding="utf-8")
    print(report(results))
    from chart import draw  # only now: the memory of this process must stay smaller than that of the engines

    draw(results, out / "compare.png")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: ends the processes
    run(main)
