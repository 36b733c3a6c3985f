"""Compare this project with other engines that run GPT-2: same weights, same threads, same minutes.

    pip install -r benchmarks/requirements.txt && python benchmarks/compare.py --rounds=5

Weights and texts are random, in the shapes of 124M; this does not affect the time. Each engine runs in its
own process (peers.py), one at a time. First, all engines must agree on the logits of a text. Then each round
measures each engine with each length of prompt. The result is the median of the rounds.
"""

import contextlib
import importlib.metadata
import json
import os
import platform
import signal
import sys
import tempfile
import time
from pathlib import Path
from subprocess import PIPE, Popen

import numpy as np
from peers import PEERS
from random_model import write_random_model
from tqdm import tqdm

from cli.exit_status import run

OURS = "this project float32"
PROMPT_LENGTHS = (10, 128, 512, 960)  # tokens
RATIO_LENGTH = 128  # tokens in the prompt; the last column compares decoding after it
MIN_CORRELATION = 0.99  # between logits and ours, in any precision
SETTLE_S = 0.3  # seconds between measurements, until idle threads of the last engine stop spinning

# One colour-blind safe colour per engine: Okabe and Ito, 2008.
COLOURS = ("#D55E00", "#E69F00", "#777777", "#0072B2", "#009E73", "#CC79A7")
LINES = {"float32": "-", "float16": "--", "bfloat16": "--", "int8": ":", "q8_0": ":"}


class Worker:
    """A peer in its own process."""

    def __init__(self, name, model, folder, n_threads):
        folder = Path(tempfile.mkdtemp(dir=folder))
        self.name, self.log = name, folder / "log.txt"
        command = [sys.executable, Path(__file__).with_name("peers.py"), name, model, folder]
        options = {"text": True, "env": os.environ | {"OMP_NUM_THREADS": str(n_threads)}}
        with open(self.log, "w") as log:
            self.process = Popen(command, **options, stdin=PIPE, stdout=PIPE, stderr=log)

    def read_line(self):
        """Read a line. Raises SystemExit, with the last line of the log, if the process has ended."""
        line = self.process.stdout.readline()
        if not line:
            log = self.log.read_text(errors="replace").strip().splitlines()
            raise SystemExit(f"{self.name} ended with status {self.process.wait()}: {log[-1:]}")
        return line

    def ask(self, ids, n_tokens, logits=None):
        """Run one text, see peers.py."""
        time.sleep(SETTLE_S)
        request = json.dumps({"ids": ids, "n_tokens": n_tokens, "logits": logits})
        with contextlib.suppress(BrokenPipeError):  # read_line reports the reason
            print(request, file=self.process.stdin, flush=True)
        return json.loads(self.read_line())

    def stop(self):
        self.process.kill()
        self.process.wait()


def version(package):
    """The installed version of a package, or None."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)


def describe_machine(names, n_threads):
    """The machine and the software: {name: text}."""
    cpu = platform.processor()
    with contextlib.suppress(OSError):
        cpu = Path("/proc/cpuinfo").read_text().partition("model name\t: ")[2].partition("\n")[0] or cpu
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    packages = dict.fromkeys(package for name in names for package in PEERS[name][0].packages)
    return {
        "CPU": f"{cpu}, {os.cpu_count()} cores, {n_threads} threads used",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "NumPy": f"{np.__version__} with {blas['name']} {blas['version']}",
    } | {package: version(package) for package in packages}


def check_agreement(workers, ids, folder):
    """Compare the logits of each model with ours, for one text. SystemExit if they differ."""
    agreement, path = {}, os.path.join(folder, "logits.npy")
    ours = workers[0].ask(ids, PEERS[OURS][0].n_tokens, path)["ids"]
    our_logits = np.load(path)
    models = [worker for worker in workers[1:] if PEERS[worker.name][0].is_model]
    for worker in tqdm(models, desc="logits", leave=False, disable=None):
        peer, precision = PEERS[worker.name]
        new = worker.ask(ids, peer.n_tokens, path)["ids"]
        n_same = int(np.argmin([*np.equal(ours[: len(new)], new), False]))
        logits = np.load(path)[: n_same + 1].ravel()  # after a different token, the texts differ
        expected = our_logits.ravel()[: logits.size]
        difference, correlation = float(np.abs(logits - expected).max()), np.corrcoef(logits, expected)[0, 1]
        agreement[worker.name] = {"difference": difference, "correlation": correlation, "n_same": n_same}
        limit = peer.tolerance if precision == "float32" else np.inf
        if not (difference <= limit and correlation >= MIN_CORRELATION):
            raise SystemExit(f"{worker.name}: logits differ by {difference:.1e}, r = {correlation:.4f}")
    return agreement


def measure(workers, texts, rounds):
    """-> {name: {prompt length: {"prompt_s": [n_rounds], "decode_s": [n_rounds], medians per round}}}."""
    samples = {w.name: {str(len(text)): {"prompt_s": [], "decode_s": []} for text in texts} for w in workers}
    steps = [(text, worker) for _ in range(rounds) for text in texts for worker in workers]
    for text, worker in tqdm(steps, desc="measuring", leave=False, disable=None):
        answer = worker.ask(text, PEERS[worker.name][0].n_tokens)
        sample = samples[worker.name][str(len(text))]
        sample["prompt_s"].append(answer["prompt_s"])
        sample["decode_s"].append(np.median(answer["decode_s"]))
    return samples


def compare(rounds, model, n_threads):
    """Start all installed engines, check and measure them. Returns the content of compare.json."""
    missing = {name: [p for p in peer.packages if not version(p)] for name, (peer, _) in PEERS.items()}
    names = [name for name in PEERS if not missing[name]]
    rng, workers = np.random.default_rng(0), []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, contextlib.ExitStack() as stack:
        if model is None:
            model = folder
            write_random_model(Path(model))
        for name in tqdm(names, desc="loading", leave=False, disable=None):
            workers.append(Worker(name, model, folder, n_threads))
            stack.callback(workers[-1].stop)
            workers[-1].read_line()
        n_vocab = json.loads(Path(model, "hparams.json").read_text())["n_vocab"]
        agreement = check_agreement(workers, rng.integers(n_vocab, size=100).tolist(), folder)
        samples = measure(workers, [rng.integers(n_vocab, size=n).tolist() for n in PROMPT_LENGTHS], rounds)
    about = {"machine": describe_machine(names, n_threads), "rounds": rounds}
    about["not_installed"] = [name for name in PEERS if missing[name]]
    return about | {"agreement": agreement, "samples": samples}


def medians(samples):
    """Tokens decoded per second, and milliseconds to the first token, of one peer by prompt length."""
    tokens_per_s = {int(n): 1 / np.median(sample["decode_s"]) for n, sample in samples.items()}
    prompt_ms = {int(n): 1000 * np.median(sample["prompt_s"]) for n, sample in samples.items()}
    return tokens_per_s, prompt_ms


def report(results):
    """The results as Markdown."""
    columns = [f"{unit} at {n}" for unit in ("tokens/s", "ms") for n in PROMPT_LENGTHS]
    columns = ["engine", "precision", *columns, f"tokens/s ÷ ours at {RATIO_LENGTH}"]
    rows = [columns, ["---"] * 2 + ["--:"] * (len(columns) - 2)]
    our_tokens_per_s, _ = medians(results["samples"][OURS])
    for name, samples in results["samples"].items():
        tokens_per_s, prompt_ms = medians(samples)
        cells = [f"{n:.1f}" for n in tokens_per_s.values()] + [f"{ms:.0f}" for ms in prompt_ms.values()]
        ratio = tokens_per_s[RATIO_LENGTH] / our_tokens_per_s[RATIO_LENGTH]
        rows.append([PEERS[name][0].engine, PEERS[name][1], *cells, f"{ratio:.2f}"])
    text = (
        f"Tokens/s decoded and ms to the first token after n tokens, medians of {results['rounds']} rounds."
    )
    agreement = "logits within {difference:.1e} of ours, correlation {correlation:.6f}, {n_same} equal tokens"
    lines = [f"- not installed: {name}" for name in results["not_installed"]]
    lines += [f"- {name}: {agreement.format(**found)}" for name, found in results["agreement"].items()]
    lines += ["", *(f"- {name}: {value}" for name, value in results["machine"].items()), ""]
    return "\n".join([text, "", *(f"| {' | '.join(row)} |" for row in rows), "", *lines])


def draw(results, path):
    """Draw tokens decoded per second, and milliseconds to the first token, by prompt length."""
    from matplotlib.figure import Figure

    engines = list(dict.fromkeys(peer.engine for peer, _ in PEERS.values()))
    figure = Figure(figsize=(9, 5), layout="constrained")
    panels = figure.subplots(1, 2)
    for name, samples in results["samples"].items():
        peer, precision = PEERS[name]
        style = {"color": COLOURS[engines.index(peer.engine)], "linestyle": LINES[precision], "label": name}
        style |= {"linewidth": 3.5, "markersize": 8, "zorder": 3} if name == OURS else {"markersize": 4}
        for panel, values in zip(panels, medians(samples), strict=True):
            panel.plot(values.keys(), values.values(), marker="o", **style)
    titles = ("tokens decoded per second", "milliseconds to the first token")
    for panel, title in zip(panels, titles, strict=True):
        panel.set(title=title, xlabel="tokens in the prompt", xticks=PROMPT_LENGTHS, yscale="log")
        panel.yaxis.set_major_formatter("{x:g}")
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    lines, names = panels[0].get_legend_handles_labels()
    legend = figure.legend(lines, names, loc="outside lower center", ncols=3, frameon=False)
    legend.get_texts()[names.index(OURS)].set_weight("bold")
    figure.savefig(path, dpi=200)


def main(
    rounds: int = 5,
    out: str = "benchmarks/results",
    folder: str = None,
    n_threads: int = None,
    draw_only: bool = False,
):
    """Compare, print a table, and write compare.json, compare.md and compare.png.

    Args:
        rounds: the number of rounds.
        out: the folder for the three files.
        folder: a model in OpenAI's five files. The default is a random model in a temporary folder.
        n_threads: threads per engine. The default is the number of cores.
        draw_only: only draw compare.png from compare.json.
    """
    out = Path(out)
    if not draw_only:
        results = compare(rounds, folder, n_threads or os.cpu_count())
        out.mkdir(parents=True, exist_ok=True)
        (out / "compare.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        (out / "compare.md").write_text(report(results), encoding="utf-8")
        print(report(results))
    draw(json.loads((out / "compare.json").read_text(encoding="utf-8")), out / "compare.png")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: ends the workers
    run(main)
