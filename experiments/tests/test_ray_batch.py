"""ray_batch.py with real workers, some of which are killed, beside gpt2.py in one process."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="ray_batch.py needs ray[data]")

import pyarrow as pa
import pyarrow.parquet as pq
from conftest import EXPERIMENTS
from ray_batch import count_rows

from gpt2 import score

ROOT = EXPERIMENTS.parent
FLAGS = ["--model_size=demo", "--n_tokens_to_generate=2", "--top_p=0.9", "--seed=7"]
IN_PARTS = ["--n_workers=2", "--part_size=100"]  # which is no multiple of the batch size
needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    """A file of 2,000 prompts, no two of them the same."""
    rng, text = random.Random(1), (ROOT / "README.md").read_text(encoding="utf-8")
    slices = {}
    while len(slices) < 2000:
        start = rng.randrange(len(text))
        slices[text[start : start + rng.randrange(5, 12)]] = start
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    rows = [{"prompt": prompt, "text": start} for prompt, start in slices.items()]
    del rows[0]["text"]  # other columns do not matter
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def expected(prompts):
    """What gpt2.py makes of them in one process: its JSON lines."""
    command = [sys.executable, ROOT / "gpt2.py", f"--prompts_file={prompts}", *FLAGS]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    return [json.loads(line) for line in done.stdout.split("\n")[:-1]]  # a text may have U+2028


@pytest.fixture
def start(tmp_path):
    """start(*arguments): the command in tmp_path, a Popen. At the end nothing it has started may be left."""
    ray_tmp = tempfile.mkdtemp(prefix="ray")  # tmp_path is too long for Ray's sockets
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, EXPERIMENTS / "ray_batch.py", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "RAY_TMPDIR": ray_tmp, "PYTHONIOENCODING": "utf-8"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        process.ray_tmp = ray_tmp
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
    wait_until(lambda: not processes(ray_tmp))
    shutil.rmtree(ray_tmp)


def processes(ray_tmp, name=""):
    """The ids of the processes that RAY_TMPDIR marks as ours, and that have this name."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_ours = ray_tmp.encode() in (folder / "environ").read_bytes()
            if is_ours and name.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:  # it has ended, or is somebody else's
            pass
    return found


def wait_until(condition):
    """Wait for three minutes at most."""
    end = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def parts(out):
    """{name of a part: when it was written}."""
    return {path.name: path.stat().st_mtime_ns for path in out.glob("part-*.parquet")}


def check_results(out, expected):
    """All rows are there, in their order, with what gpt2.py made of them."""
    rows = pq.read_table(out).to_pylist()
    assert [row["prompt"] for row in rows] == [line["prompt"] for line in expected]
    equal = [all(row[name] == line[name] for name in line) for row, line in zip(rows, expected, strict=True)]
    # In other batches rounding can tip a balance, though it hardly does.
    assert sum(equal) >= len(expected) - 2
    assert all(row["n_tokens"] == len(row["tokens"]) for row in rows)


@needs_proc
def test_worker_that_is_killed_loses_nothing(start, prompts, expected, tmp_path):
    out = tmp_path / "out"
    process = start(prompts, "--out=out", *IN_PARTS, *FLAGS)
    wait_until(lambda: len(parts(out)) >= 2)
    victim = processes(process.ray_tmp, "ray::MapWorker")[0]
    assert b"OPENBLAS_NUM_THREADS=" in Path(f"/proc/{victim}/environ").read_bytes()
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in processes(process.ray_tmp))
    assert process.poll() is None and len(parts(out)) < 20  # there was work left
    stdout, stderr = process.communicate(timeout=120)
    assert (process.returncode, stdout) == (0, ""), stderr
    assert stderr.splitlines()[-1].startswith("2000 texts, ")
    check_results(out, expected)


@needs_proc
def test_run_that_is_killed_goes_on_where_it_was(start, prompts, expected, tmp_path):
    out, arguments = tmp_path / "out", [prompts, "--out=out", *IN_PARTS, *FLAGS]
    process = start(*arguments)
    wait_until(lambda: len(parts(out)) >= 3)
    process.kill()
    process.communicate()
    wait_until(lambda: not processes(process.ray_tmp, "ray::MapWorker"))
    done = parts(out)

    process = start(*arguments)
    wait_until(lambda: len(parts(out)) >= len(done) + 3)
    process.send_signal(signal.SIGINT)  # Ctrl-C
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in stderr
    wait_until(lambda: not processes(process.ray_tmp, "ray::MapWorker"))
    assert parts(out).items() >= done.items()  # not written again
    done = parts(out)
    assert 6 <= len(done) < 20

    process = start(*arguments)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert stderr.splitlines()[-1].startswith(f"{2000 - 100 * len(done)} texts, ")
    assert parts(out).items() >= done.items()
    assert len(list(out.iterdir())) == 21  # with the settings, and without anything unfinished
    check_results(out, expected)

    assert start(*arguments).communicate(timeout=60)[1].startswith("0 texts, 0 tokens, ")
    assert_refused(start(*arguments, "--seed=8"), "other settings")
    assert_refused(start(*arguments, "--part_size=50"), "other settings")


def assert_refused(process, message="", status=2):
    """It ends with this status, and one line that has the message in it."""
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (status, "")
    assert len(stderr.splitlines()) == 1 and stderr.startswith("ray_batch.py: ") and message in stderr


def test_scores_of_parquet_files_are_those_of_gpt2(start, demo, tmp_path):
    encoder, hparams, params = demo
    texts = ["Once upon a time", "", "The king gave his daughter", "naïve 🦊", "a " * 300]
    (tmp_path / "texts").mkdir()
    pq.write_table(pa.table({"id": [1, 2, 3], "text": texts[:3]}), tmp_path / "texts" / "a.parquet")
    pq.write_table(pa.table({"id": [4, 5], "text": texts[3:]}), tmp_path / "texts" / "b.parquet")
    process = start("texts", "--out=out", "--score", "--part_size=2", "--model_size=demo")
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    rows = pq.read_table(tmp_path / "out").to_pylist()
    assert [row["text"] for row in rows] == texts
    for row, text in zip(rows, texts, strict=True):
        log_probs = score([encoder.end_of_text, *encoder.encode(text)], params, hparams["n_head"])
        assert row["log_prob"] == pytest.approx(log_probs.sum(), rel=1e-6, abs=1e-9)
        assert row["n_tokens"] == len(log_probs) and row["n_bytes"] == len(text.encode())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"prompt": "a"}\n{"prompt": \n', "row 2: there is no text"),
        ('{"prompt": "a"}\n{"text": "b"}\n', "row 2: there is no text"),
        ('{"prompt": 1}\n', "row 1: there is no text"),
        ('{"prompt": "\\ud800"}\n', "row 1: there is no text"),
        ("[]\n", "row 1: there is no text"),
        ("\n", "row 1: there is no text"),
    ],
)
def test_bad_rows_are_refused(tmp_path, content, message):
    for file in tmp_path / "rows.jsonl", tmp_path / "rows.parquet":
        file.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        count_rows(tmp_path / "rows.jsonl", "prompt")
    with pytest.raises(ValueError, match="row 1: there is no text"):  # which is no Parquet at all
        count_rows(tmp_path / "rows.parquet", "prompt")


@pytest.mark.parametrize(
    ("arguments", "message", "status"),
    [
        (["rows.jsonl"], "--out is missing", 2),
        (["rows.jsonl", "--out=out"], "row 2: there is no text", 2),
        (["empty", "--out=out"], "there are no rows", 2),
        (["missing.jsonl", "--out=out"], "No such file", 1),
        (["rows.jsonl", "--out=out", "--top_p=2"], "top_p", 2),
    ],
)
def test_bad_arguments_are_refused_in_one_line(start, tmp_path, arguments, message, status):
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a"}\n{}\n', encoding="utf-8")
    (tmp_path / "empty").mkdir()
    assert_refused(start(*arguments), message, status)
    assert not (tmp_path / "out").exists()
