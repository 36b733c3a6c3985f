"""ray_batch.py: real workers, some of them killed, give the same results as gpt2.py in one process."""

import gzip
import json
import os
import random
import re
import shlex
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
from helpers.batch_parts import CONTINUATION, SCORE, read_texts
from ray_batch import Worker
from support.documents import code_blocks
from support.paths import EXPERIMENTS, ROOT

from generation.scoring import score

DOCUMENT = ROOT / "docs" / "ray.md"
FLAGS = ["--model_size=demo", "--n_tokens_to_generate=2", "--top_p=0.9", "--seed=7"]
IN_PARTS = ["--n_workers=2", "--part_size=100"]  # not a multiple of the batch size
needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    """A file of 2,000 distinct prompts."""
    rng, text = random.Random(1), (ROOT / "README.md").read_text(encoding="utf-8")
    slices = {}
    while len(slices) < 2000:
        start = rng.randrange(len(text))
        slices[text[start : start + rng.randrange(5, 12)]] = start
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    rows = [{"prompt": prompt, "text": start} for prompt, start in slices.items()]
    del rows[0]["text"]  # other columns are optional
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def expected(prompts):
    """The JSON lines that gpt2.py prints for the prompts, in one process."""
    command = [sys.executable, ROOT / "gpt2.py", f"--prompts_file={prompts}", *FLAGS]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    return [json.loads(line) for line in done.stdout.split("\n")[:-1]]  # splitlines() would split at U+2028


@pytest.fixture
def start_ray(tmp_path):
    """start_ray(*arguments): run ray_batch.py in tmp_path. Returns a Popen. No process outlives the test."""
    ray_tmp = tempfile.mkdtemp(prefix="ray")  # Ray's sockets need a shorter path than tmp_path
    started = []

    def start_ray(*arguments):
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

    yield start_ray
    for process in started:
        process.kill()
        process.communicate()
    wait_until(lambda: not processes(ray_tmp))
    shutil.rmtree(ray_tmp)


def processes(ray_tmp, name=""):
    """The ids of our processes with `name` in the command line. RAY_TMPDIR in the environment marks them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_ours = ray_tmp.encode() in (folder / "environ").read_bytes()
            if is_ours and name.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:  # the process has ended, or belongs to another user
            pass
    return found


def wait_until(condition):
    """Wait until the condition is true, for at most three minutes."""
    end = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def parts(out):
    """The finished parts: {name: time of the last write}."""
    return {path.name: path.stat().st_mtime_ns for path in out.glob("part-*.parquet")}


def check_results(out, expected):
    """Assert that the folder has all rows, in order, with the results of gpt2.py."""
    rows = pq.read_table(out).to_pylist()
    assert [row["prompt"] for row in rows] == [line["prompt"] for line in expected]
    equal = [all(row[name] == line[name] for name in line) for row, line in zip(rows, expected, strict=True)]
    # Batches of other sizes round differently. In rare cases that changes a token.
    assert sum(equal) >= len(expected) - 2
    assert all(row["n_tokens"] == len(row["tokens"]) for row in rows)


@needs_proc
def test_killed_worker_loses_no_results(start_ray, prompts, expected, tmp_path):
    out = tmp_path / "out"
    process = start_ray(prompts, "--out=out", *IN_PARTS, *FLAGS)
    wait_until(lambda: len(parts(out)) >= 2)
    victim = processes(process.ray_tmp, "ray::MapWorker")[0]
    assert b"OPENBLAS_NUM_THREADS=" in Path(f"/proc/{victim}/environ").read_bytes()
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in processes(process.ray_tmp))
    assert process.poll() is None and len(parts(out)) < 20  # some work is left
    stdout, stderr = process.communicate(timeout=120)
    assert (process.returncode, stdout) == (0, ""), stderr
    assert stderr.splitlines()[-1].startswith("2000 texts, ")
    check_results(out, expected)


@needs_proc
def test_killed_run_resumes(start_ray, prompts, expected, tmp_path):
    out, arguments = tmp_path / "out", [prompts, "--out=out", *IN_PARTS, *FLAGS]
    process = start_ray(*arguments)
    wait_until(lambda: len(parts(out)) >= 3)
    process.kill()
    process.communicate()
    wait_until(lambda: not processes(process.ray_tmp, "ray::MapWorker"))
    done = parts(out)

    process = start_ray(*arguments)
    wait_until(lambda: len(parts(out)) >= len(done) + 3)
    process.send_signal(signal.SIGINT)  # Ctrl-C
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in stderr
    wait_until(lambda: not processes(process.ray_tmp, "ray::MapWorker"))
    assert parts(out).items() >= done.items()  # no part is written twice
    done = parts(out)
    assert 6 <= len(done) < 20

    process = start_ray(*arguments)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert stderr.splitlines()[-1].startswith(f"{2000 - 100 * len(done)} texts, ")
    assert parts(out).items() >= done.items()
    assert len(list(out.iterdir())) == 21  # 20 parts and the settings; no temporary files
    check_results(out, expected)

    assert start_ray(*arguments).communicate(timeout=60)[1].startswith("0 texts, 0 tokens, ")
    assert_rejected(start_ray(*arguments, "--seed=8"), "other settings")
    assert_rejected(start_ray(*arguments, "--part_size=50"), "other settings")


def assert_rejected(process, message="", status=2):
    """Assert that the process prints one line with the message and exits with the status."""
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (status, "")
    assert len(stderr.splitlines()) == 1 and stderr.startswith("ray_batch.py: ") and message in stderr


def test_commands_of_the_document_print_the_columns_it_lists(start_ray, tmp_path):
    write_rows, process_rows, print_results = code_blocks(DOCUMENT)[0][1].splitlines()
    subprocess.run(write_rows, shell=True, cwd=tmp_path, check=True)
    process = start_ray(*shlex.split(process_rows)[2:])
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    command = [sys.executable, *shlex.split(print_results)[1:]]
    lines = subprocess.check_output(command, cwd=tmp_path, encoding="utf-8").splitlines()
    assert lines[0].split() == CONTINUATION.names
    assert [line.split()[1] for line in lines[1:]] == ["Once", "The"]
    columns = re.findall(r"^\| `(\w+)` \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert columns == CONTINUATION.names + SCORE.names


def test_scores_of_parquet_files_equal_score(start_ray, demo, tmp_path):
    encoder, hparams, params = demo
    texts = ["Once upon a time", "", "The king gave his daughter", "naïve 🦊", "a " * 300]
    (tmp_path / "texts").mkdir()
    pq.write_table(pa.table({"id": [1, 2, 3], "text": texts[:3]}), tmp_path / "texts" / "a.parquet")
    pq.write_table(pa.table({"id": [4, 5], "text": texts[3:]}), tmp_path / "texts" / "b.parquet")
    process = start_ray("texts", "--out=out", "--score", "--part_size=2", "--model_size=demo")
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    rows = pq.read_table(tmp_path / "out").to_pylist()
    assert [row["text"] for row in rows] == texts
    for row, text in zip(rows, texts, strict=True):
        log_probs = score([encoder.end_of_text, *encoder.encode(text)], params, hparams["n_head"])
        assert row["log_prob"] == pytest.approx(log_probs.sum(), rel=1e-6, abs=1e-4)
        assert row["n_tokens"] == len(log_probs) and row["n_bytes"] == len(text.encode())


def test_equal_prompts_get_equal_texts(demo):
    """Their order and the batch size do not matter, and an empty prompt is valid."""
    encoder, hparams, params = demo
    worker = Worker.__new__(Worker)
    task = {"n_tokens_to_generate": 5, "temperature": 1.0, "top_p": 0.9}
    worker.encoder, worker.settings = encoder, {"seed": 7, "task": task}
    worker.model = {"params": params, "n_head": hparams["n_head"]}
    prompts = ["The king", "", "Once upon a time there was", "The king", ""]
    worker.batch_size = 32
    rows = worker.generate(prompts)
    assert [row["prompt"] for row in rows] == prompts
    assert (rows[0], rows[1]) == (rows[3], rows[4])
    worker.batch_size = 1
    assert worker.generate(prompts[::-1]) == rows[::-1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"prompt": "a"}\n\n{"prompt": \n', "line 3: expected a JSON object"),
        ('{"prompt": "a"}\n{"text": "b"}\n', "line 2: expected a JSON object"),
        ('{"prompt": 1}\n', "line 1: expected a JSON object"),
        ('{"prompt": "\\ud800"}\n', "line 1: expected a JSON object"),
        ("[[]]\n", "item 1: expected a JSON object"),
    ],
)
def test_bad_rows_are_rejected(tmp_path, content, message):
    for file in tmp_path / "rows.jsonl", tmp_path / "rows.parquet":
        file.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_texts(tmp_path / "rows.jsonl", "prompt")
    with pytest.raises(ValueError, match="row 1: there is no text"):  # it is not a Parquet file
        read_texts(tmp_path / "rows.parquet", "prompt")


@pytest.mark.parametrize(("values", "row"), [(["a", None], 2), ([b"a"], 1), ([{"prompt": "a"}], 1), ([1], 1)])
def test_bad_rows_of_parquet_files_are_rejected(tmp_path, values, row):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"prompt": values}), path)
    with pytest.raises(ValueError, match=f"row {row}: there is no text"):
        read_texts(path, "prompt")
    with pytest.raises(ValueError, match='row 1: there is no text as "text"'):
        read_texts(path, "text")


def write_rows_and_other_files(folder):
    """Fill a folder with three files of rows and with eleven names to skip. Returns the prompts."""
    (folder / "a.jsonl").write_text('\n{"prompt": "The king"}\n\n', encoding="utf-8")
    (folder / "b.JSON.GZ").write_bytes(gzip.compress(b'["A", {"prompt": "Once"}]'))
    pq.write_table(pa.table({"prompt": ["Then"]}), folder / "c.parquet")
    hidden = [".DS_Store", ".jsonl", "._a.jsonl", ".c.parquet", "_settings.json"]
    others = ["Thumbs.db", "desktop.ini", "a.jsonl.part", "rows\x1b.csv", "z.txt"]
    for name in hidden + others:
        (folder / name).write_bytes(b"\xff")
    (folder / "more.jsonl").mkdir()
    return ["The king", "A", "Once", "Then"]


def test_other_files_of_a_folder_are_skipped_and_listed(start_ray, tmp_path):
    (tmp_path / "rows").mkdir()
    prompts = write_rows_and_other_files(tmp_path / "rows")
    process = start_ray("rows", "--out=out", "--model_size=demo", "--n_tokens_to_generate=1", "--part_size=1")
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert [row["prompt"] for row in pq.read_table(tmp_path / "out").to_pylist()] == prompts
    shown = ".DS_Store, ._a.jsonl, .c.parquet, .jsonl, Thumbs.db, _settings.json, a.jsonl.part, desktop.ini"
    skipped, summary = stderr.splitlines()[-2:]
    assert skipped == f"skipped 11 in the folder: {shown}, more.jsonl, rows .csv, ..."
    assert summary.startswith("4 texts, ")


@pytest.mark.parametrize(
    ("arguments", "message", "status"),
    [
        (["rows.jsonl"], "--out is missing", 2),
        (["rows.jsonl", "--out=out"], "line 2: expected", 2),
        (["empty", "--out=out"], "there are no rows; skipped 1 in the folder: a.csv", 2),
        (["missing.jsonl", "--out=out"], "No such file", 2),
        (["damaged.jsonl.gz", "--out=out"], "damaged gzip file", 2),
        (["rows.jsonl", "--out=out", "--top_p=2"], "top_p", 2),
    ],
)
def test_bad_arguments_are_one_line_errors(start_ray, tmp_path, arguments, message, status):
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a"}\n{}\n', encoding="utf-8")
    (tmp_path / "damaged.jsonl.gz").write_bytes(gzip.compress(b'["A"]')[:-1])
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.csv").touch()
    assert_rejected(start_ray(*arguments), message, status)
    assert not (tmp_path / "out").exists()
