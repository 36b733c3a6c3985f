"""--model_size and the network: which model answers, and the error if it is not available."""

import re
import shutil

import pytest
from support.command_line import DEMO, PROMPT, QUIET, assert_error, is_one_line

from utils import DEMO_DIR, MODELS_DIR

STATISTICS = {"gpt2.py": r"40 tokens, \d+\.\d\d s, \d+\.\d tokens/s\n", "gpt2_pico.py": ""}
scripts = pytest.mark.parametrize("script", STATISTICS)


# The model answers.


@scripts
def test_stdout_has_only_the_text(run, generated_text, script):
    status, stdout, stderr = run(PROMPT, DEMO, script=script)
    assert (status, stdout) == (0, generated_text(PROMPT))
    assert re.fullmatch(STATISTICS[script], stderr)


@scripts
def test_default_without_network_is_the_demo_with_one_notice(run, generated_text, tmp_path, script):
    status, stdout, stderr = run(PROMPT, f"--models_dir={tmp_path}", script=script)
    assert status == 0
    assert stdout == generated_text(PROMPT)
    notice = r".*--model_size=124M.* demo model.*\n"
    assert re.fullmatch(notice + STATISTICS[script], stderr)
    assert list(tmp_path.iterdir()) == []


def test_silent_network_times_out(run, generated_text, tmp_path, silent_listener):
    proxy = f"http://127.0.0.1:{silent_listener.getsockname()[1]}"
    status, stdout, stderr = run(PROMPT, QUIET, f"--models_dir={tmp_path}", proxy=proxy)
    assert (status, stdout) == (0, generated_text(PROMPT))
    assert is_one_line(stderr)
    assert "does not answer" in stderr


def test_model_in_a_folder(run, generated_text):
    assert run(PROMPT, QUIET, f"--model_size={DEMO_DIR}") == (0, generated_text(PROMPT), "")


# The model is not available.


@scripts
@pytest.mark.parametrize("size", ["124M", "355M", "774M", "1558M"])
def test_requested_size_without_network_is_an_error(run, tmp_path, script, size):
    result = run(f"--model_size={size}", "x", f"--models_dir={tmp_path}", script=script)
    assert_error(result, 1, size, "cannot be downloaded", "HTTPS_PROXY", f"--model_size={size}")
    assert list(tmp_path.iterdir()) == []


def test_failed_download_leaves_no_folder(run):
    before = sorted(MODELS_DIR.iterdir())
    if MODELS_DIR / "1558M" in before:
        pytest.skip("1558M is present: there is nothing to download")
    assert_error(run("--model_size=1558M", "x"), 1, "1558M")
    assert sorted(MODELS_DIR.iterdir()) == before


def test_missing_certificates_are_an_error(run, tmp_path):
    result = run("x", "--model_size=124M", f"--models_dir={tmp_path}", REQUESTS_CA_BUNDLE="/no/such/file")
    assert_error(result, 1, "124M", "/no/such/file")


@pytest.mark.parametrize("proxy", ["http://x..y:1", "nonsense", "http://127.0.0.1:99999", "socks9://x"])
def test_invalid_proxy_is_an_error(run, tmp_path, proxy):
    result = run("x", "--model_size=124M", f"--models_dir={tmp_path}", proxy=proxy)
    assert_error(result, 1, "124M is not in", "cannot be downloaded: ", "; to retry: --model_size=124M")


def test_folder_without_a_model_is_an_error(run, tmp_path):
    assert_error(run("x", f"--model_size={tmp_path}"), 1, str(tmp_path), "lacks config.json")


def test_damaged_model_is_an_error(run, tmp_path):
    for path in DEMO_DIR.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[:1000])
    assert_error(run("x", f"--model_size={tmp_path}"), 1, "encoder.json")
    shutil.copy(DEMO_DIR / "encoder.json", tmp_path)
    shutil.copy(DEMO_DIR / "vocab.bpe", tmp_path)
    assert_error(run("x", f"--model_size={tmp_path}"), 1, "model.ckpt.index")
