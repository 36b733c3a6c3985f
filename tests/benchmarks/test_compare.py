"""benchmarks/compare.py on the demo model: the engines, the checks, one whole run and its report."""

import contextlib
import hashlib
import importlib
import json
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from support.paths import DATA, ROOT

from encoder import get_encoder
from gpt2 import generate
from utils import DEMO_DIR

PROMPTS = [[318, 12, 7, 1200], [5, 5, 90, 4000], [700, 1, 2, 3]]
MODULES = {"ctranslate2": "ctranslate2", "gguf": "gguf", "llama-cpp-python": "llama_cpp"}
ENGINES = ["this project", "picoGPT's algorithm", "transformers", "CTranslate2", "llama.cpp"]
TOKENIZERS = ["this project", "picoGPT's algorithm", "tokenizers", "tiktoken"]


@pytest.fixture
def benchmarks(monkeypatch):
    """Import a module of benchmarks/ by its name, without pauses between measurements."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")  # at the end of the test, sys.path is as before
    monkeypatch.setattr(importlib.import_module("workers"), "SETTLE_S", 0)
    return importlib.import_module


def require(packages):
    missing = [package for package in packages if find_spec(MODULES.get(package, package)) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


@pytest.mark.parametrize("name", ENGINES)
def test_each_engine_continues_texts_as_generate_does(name, benchmarks, demo, tmp_path):
    peer, _ = benchmarks("peers").PEERS[f"{name} float32"]
    require(peer.packages)
    _, hparams, params = demo
    n_new = 1 + peer.n_tokens
    expected = [list(generate(prompt, params, hparams["n_head"], n_new)) for prompt in PROMPTS]
    with contextlib.ExitStack() as stack:
        engine = benchmarks("workers").Engine(f"{name} float32", DEMO_DIR, tmp_path, 1, stack)
        assert [engine.run([prompt])["ids"][0] for prompt in PROMPTS] == expected
        if "batch" in peer.measures:
            answer = engine.run(PROMPTS)
            assert answer["ids"] == expected
            assert len(answer["decode_s"]) == peer.n_tokens
        if "start" in peer.measures:
            _, token_id, n_bytes = engine.start(PROMPTS[0])
            assert token_id == expected[0][0]
            assert n_bytes > (DEMO_DIR / "model.ckpt.data-00000-of-00001").stat().st_size or np.isnan(n_bytes)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_each_tokenizer_gives_the_same_ids(name, benchmarks, tmp_path):
    packages, _ = benchmarks("tokenizer_speed").TOKENIZERS[name]
    require(packages)
    text = (DATA / "hard_texts.json").read_text(encoding="utf-8")
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    ids = get_encoder("gpt2", DATA).encode(text)
    arguments = [name, tmp_path / "text.txt"]
    output = benchmarks("workers").run_script("tokenizer_speed.py", arguments, tmp_path / "log.txt", 1)
    assert json.loads(output)["sha256"] == hashlib.sha256(np.array(ids, np.int32)).hexdigest()


def test_one_run_measures_everything(benchmarks, tmp_path, capsys):
    require(["matplotlib"])
    compare = benchmarks("compare")
    options = {"rounds": 1, "folder": str(DEMO_DIR), "text": str(DATA / "hard_texts.json"), "n_threads": 1}
    compare.main("bare matrix products", out=str(tmp_path), **options)
    results = json.loads((tmp_path / "compare.json").read_text(encoding="utf-8"))
    assert results["failed"] == {}
    ours = results["samples"]["this project float32"]
    assert {measure: list(ours[measure]) for measure in ours} == {
        "prompt": ["10", "128"],  # the demo model has no room for longer ones
        "decode": ["10", "128"],
        "batch": ["1", "2", "4", "8", "16", "32"],
        "start": ["10"],
        "memory": ["10"],
    }
    assert all(
        len(figures) == 1 and figures[0] > 0 for measure in ours.values() for figures in measure.values()
    )
    assert results["samples"]["bare matrix products float32"].keys() == {"prompt", "decode", "batch"}
    assert results["samples"]["this project"]["tokenizer"]["1"][0] > 0
    found = results["agreement"]["this project float32"]
    assert (found["difference"], found["n_same"], found["batch"]) == (0, 17, 1)
    assert (tmp_path / "compare.md").read_text(encoding="utf-8") == capsys.readouterr().out[:-1]
    assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_an_unknown_engine_is_an_error():
    command = [sys.executable, ROOT / "benchmarks" / "compare.py", "--engines=llama.cpp,GPU"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("compare.py: unknown engine 'GPU': use some of CTranslate2, ")
    assert result.stderr.count("\n") == 1


def test_an_engine_that_fails_is_recorded_with_the_last_line_of_its_log(benchmarks, tmp_path):
    failures = benchmarks("compare").Failures()
    with failures.record("engine"):
        benchmarks("workers").run_script("peers.py", ["unknown", "", ""], tmp_path / "log.txt", 1)
    assert failures == {"engine": "exit status 1: KeyError: 'unknown'"}


def test_an_engine_that_hangs_is_ended(benchmarks, monkeypatch, tmp_path):
    workers = benchmarks("workers")
    arguments = ["this project float32", DEMO_DIR, ""]
    with workers.Process("peers.py", arguments, tmp_path / "log.txt", 1) as process:
        assert process.read_line() == "ready\n"
        monkeypatch.setattr(workers, "TIMEOUT_S", 0.1)
        with pytest.raises(ChildProcessError, match="exit status"):
            process.read_line()  # without a request, there is no answer


def test_logits_that_differ_are_an_error(benchmarks, demo, tmp_path):
    compare, workers = benchmarks("compare"), benchmarks("workers")
    with contextlib.ExitStack() as stack:
        engine = workers.Engine("this project float32", DEMO_DIR, tmp_path, 1, stack)
        ids, logits = compare.run_with_logits(engine, PROMPTS[0], tmp_path / "logits.npy")
        with pytest.raises(ChildProcessError, match=r"logits differ by 1.0e\+00"):
            compare.check_logits(engine, PROMPTS[0], (ids, logits + 1), tmp_path / "logits.npy")


def test_the_report_says_where_this_project_is_first(benchmarks):
    samples = {
        "this project float32": {"decode": {"10": [9.0, 10.0, 99.0]}, "prompt": {"10": [20.0]}},
        "llama.cpp float32": {"decode": {"10": [8.0]}, "prompt": {"10": [40.0]}},
        "CTranslate2 float32": {"decode": {"10": [5.0]}, "prompt": {"10": [15.0]}},
        "CTranslate2 int8": {"decode": {"10": [50.0]}},
        "bare matrix products float32": {"decode": {"10": [100.0]}, "prompt": {"10": [1.0]}},
    }
    models = [name for name in samples if not name.startswith("bare")]
    results = {"samples": samples, "agreement": dict.fromkeys(models)}
    first_in_decoding, second_in_prompts = benchmarks("report").comparison_table(results)[4:6]
    assert first_in_decoding == "| tokens/s decoded after 10 tokens | yes | llama.cpp | 10.0 | 8.0 | 1.25 |"
    assert second_in_prompts == "| ms for a prompt of 10 tokens | no | CTranslate2 | 20 | 15 | 0.75 |"
