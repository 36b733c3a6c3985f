"""Downloads, and all that servers, networks, disks and users do to them; a table of it is in README.md."""

import functools
import json
import os
import random
import re
import shutil
import signal
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import urllib3
from bundle_writer import write_bundle
from conftest import HUB_MODEL
from model_server import Fault

import download
from checkpoint import read_tf_checkpoint
from formats import OPENAI_FILES, SHARDS
from safetensors_file import read_safetensors
from sources import download_gpt2_files
from utils import DEMO_DIR, find_model_dir, load_encoder_hparams_and_params

INDEX_FILE, DATA_FILE = OPENAI_FILES[-2:]
SIZE = (DEMO_DIR / DATA_FILE).stat().st_size
HUB_FILES = sorted(path.name for path in HUB_MODEL.iterdir() if path.name != "expected.json")
posix = pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX")


def parts_in(folder):
    return sorted(path.name for path in folder.glob("*.part"))


def check_files(folder, missing=()):
    """What has a final name is right, and that is all but `missing`; no lock is left."""
    names = {path.name for path in folder.iterdir()} - set(parts_in(folder))
    assert names == set(OPENAI_FILES) - set(missing)
    for name in names:
        assert (folder / name).read_bytes() == (DEMO_DIR / name).read_bytes(), name
    assert not folder.with_name(f"{folder.name}.lock").exists()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "124M"


@pytest.fixture
def fetch(server, folder, impatient):
    """fetch(): download 124M from the server."""
    return lambda: download_gpt2_files("124M", folder, server.url)


def test_a_download_is_the_files_of_the_server(server, folder, fetch, capsys):
    fetch()
    check_files(folder)
    assert parts_in(folder) == []
    assert server.fetched == list(OPENAI_FILES)
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert "124M: 100%" in stderr
    assert "11.8M/11.8M" in stderr  # one bar, in bytes


def test_what_is_there_is_not_downloaded_again(server, folder, fetch):
    fetch()
    (folder / "vocab.bpe").unlink()
    server.requests.clear()
    fetch()
    assert server.fetched == ["vocab.bpe"]
    check_files(folder)


# A server's faults that pass, or that do not matter.

OVERCOME = {
    "cut once": Fault("cut", times=1, at=5_000_000),
    "cut again and again": Fault("cut", at=1_000_000),
    "cut before the first byte": Fault("cut", times=1, at=0),
    "stalls once": Fault("stall", times=1, at=5_000_000),
    "429, with Retry-After": Fault("busy", times=1),
    "500 twice": Fault("error", times=2),
    "no Content-Length": Fault("no length"),
    "a Content-Length that is none": Fault("no number"),
    "no Range": Fault("no range"),
    "another ETag each time": Fault("changing"),
    "gzip": Fault("gzip"),
    "a redirection": Fault("redirect"),
    "no HEAD": Fault("no head"),
}


@pytest.mark.parametrize("fault", OVERCOME)
def test_what_can_be_overcome_is(server, folder, fetch, fault):
    server.faults[DATA_FILE] = [replace(OVERCOME[fault])]
    fetch()
    check_files(folder)
    assert parts_in(folder) == []


def starts(server):
    """Where the server was asked to begin with the data, each time."""
    return [start for method, file, start in server.requests if (method, file) == ("GET", DATA_FILE)]


def test_an_interruption_costs_little_more_than_the_rest(server, folder, fetch):
    server.faults[DATA_FILE] = [Fault("cut", times=1, at=5_000_000)]
    fetch()
    first, second = starts(server)
    assert first == 0
    assert 5_000_000 - download.CHUNK_SIZE <= second < 5_000_000


def test_a_hub_s_redirection_to_a_server_without_HEAD(server, tmp_path):
    folder = find_model_dir("hf:OWNER/NAME", tmp_path, server.url)
    assert folder == tmp_path / "hf--OWNER--NAME"
    assert sorted(path.name for path in folder.iterdir()) == HUB_FILES
    for file in HUB_FILES:
        assert (folder / file).read_bytes() == (HUB_MODEL / file).read_bytes()


# Faults that stay.

FAILURES = {
    "404": (Fault("missing"), "answers 404 for http"),
    "403": (Fault("forbidden"), "answers 403 for http"),
    "204": (Fault("nothing"), "answers 204 for http"),
    "429": (Fault("busy"), "answers 429 for http"),
    "500": (Fault("error"), "answers 500 for http"),
    "a web page": (
        Fault("page"),
        "sends a web page in the place of .*; does this network want you to log in",
    ),
    "cut": (Fault("cut", at=0), "the connection to 127.0.0.1:.* failed|broke off"),
    "stalls": (Fault("stall", at=0), "the connection to 127.0.0.1:.* failed|does not answer"),
    "cut, and no Content-Length": (Fault("cut without length", at=1000), "; it is not kept"),
    "another MD5": (Fault("wrong md5"), "does not match the server's own md5"),
}


SMALL_FILES_TOO = ("404", "a web page", "cut, and no Content-Length", "another MD5")
FAILING_FILES = [
    *((failure, DATA_FILE) for failure in FAILURES),
    *((failure, "vocab.bpe") for failure in SMALL_FILES_TOO),
]


@pytest.mark.parametrize(("failure", "file"), FAILING_FILES)
def test_a_failure_is_named_and_leaves_nothing_bad(server, folder, fetch, failure, file):
    fault, message = FAILURES[failure]
    at = min(fault.at, (DEMO_DIR / file).stat().st_size // 2)
    server.faults[file] = [Fault(fault.kind, at=at)]
    with pytest.raises(OSError, match=message) as error:
        fetch()
    assert "\n" not in str(error.value)
    check_files(folder, missing=OPENAI_FILES[OPENAI_FILES.index(file) :])
    server.faults.clear()
    fetch()
    check_files(folder)


# Parts of downloads that have ended early.


@pytest.fixture
def begun(server, folder, fetch):
    """The part of a download that has broken off after some 8 of 11.7 MB."""
    server.faults[DATA_FILE] = [Fault("cut", times=1, at=8_000_000), Fault("error")]
    with pytest.raises(OSError, match="answers 500"):
        fetch()
    check_files(folder, [DATA_FILE])
    (part,) = folder.glob("*.part")
    assert (DEMO_DIR / DATA_FILE).read_bytes().startswith(part.read_bytes())
    assert 8_000_000 - download.CHUNK_SIZE <= part.stat().st_size <= 8_000_000
    server.faults.clear()
    server.requests.clear()
    return part


def test_the_next_run_goes_on(server, folder, fetch, begun):
    last = begun.stat().st_size - 1
    fetch()
    check_files(folder)
    assert starts(server) == [last]


def test_a_whole_part_is_not_downloaded_again(server, folder, fetch, begun):
    """As where the process ended while it was being checked."""
    begun.write_bytes((DEMO_DIR / DATA_FILE).read_bytes())
    fetch()
    check_files(folder)
    assert starts(server) == [SIZE - 1]


def test_another_version_is_downloaded_anew(server, folder, fetch, begun):
    server.mark = "new"
    fetch()
    check_files(folder)
    assert len(starts(server)) == 2
    assert starts(server)[1] == 0
    assert parts_in(folder) == []


def test_an_answer_for_another_place_is_not_taken(server, folder, fetch, begun):
    server.faults[DATA_FILE] = [Fault("wrong range", times=1)]
    fetch()
    check_files(folder)
    assert len(starts(server)) == 2
    assert starts(server)[1] == 0


def test_a_file_that_has_become_shorter(server, folder, fetch, begun):
    begun.write_bytes(bytes(SIZE + 100))
    fetch()
    check_files(folder)
    assert starts(server) == [SIZE + 99, 0]


def test_without_versions_a_part_is_not_gone_on_with(server, folder, fetch):
    server.has_mark = False
    server.faults[DATA_FILE] = [Fault("cut", times=1, at=8_000_000)]
    fetch()
    check_files(folder)
    assert starts(server) == [0, 0]


@pytest.mark.parametrize("has_md5", [True, False])
def test_a_rest_with_other_bytes_is_not_kept(server, folder, fetch, begun, has_md5):
    server.has_md5 = has_md5
    server.faults[DATA_FILE] = [Fault("mixed", times=1)]
    with pytest.raises(OSError, match="does not match its checksum"):
        fetch()
    check_files(folder, [DATA_FILE])
    server.requests.clear()
    fetch()
    check_files(folder)
    assert starts(server)[0] > 7_000_000  # the checksums of the tensors say which bytes are good


def test_a_damaged_part_is_kept_up_to_the_damage(server, folder, fetch, begun):
    content = bytearray(begun.read_bytes())
    content[6_000_000] ^= 1
    begun.write_bytes(content)
    with pytest.raises(
        OSError, match=r"http://.*: tensor model/h\d.* does not match its checksum; it is not kept"
    ):
        fetch()
    assert 5_000_000 < begun.stat().st_size <= 6_000_000
    fetch()
    check_files(folder)


def test_weights_that_have_changed_since_do_not_get_the_old_index(server, folder, fetch, begun, tmp_path):
    other = shutil.copytree(DEMO_DIR, tmp_path / "other")
    variables = read_tf_checkpoint(DEMO_DIR / "model.ckpt")
    write_bundle(other / "model.ckpt", {name: -value.astype(np.float16) for name, value in variables.items()})
    server.folders["124M"] = other
    with pytest.raises(
        OSError, match=r"does not match its checksum.* If that comes again, delete the folder .*124M"
    ):
        fetch()
    check_files(folder, [DATA_FILE])
    shutil.rmtree(folder)
    fetch()
    assert (folder / DATA_FILE).read_bytes() == (other / DATA_FILE).read_bytes()


# Processes.


def python(start, server, tmp_path, *arguments, **keywords):
    """`python utils.py 124M` with the server as a mirror, as a Popen."""
    flags = [f"--mirror={server.url}", f"--models_dir={tmp_path}", *arguments]
    return start("124M", *flags, script="utils.py", NO_PROXY="127.0.0.1", **keywords)


def finish(process):
    stdout, stderr = process.communicate(timeout=120)
    return process.returncode, stdout, stderr


# After how many bytes a process is killed: 30 points at random, the same in each run.
N_BYTES = sum((DEMO_DIR / file).stat().st_size for file in OPENAI_FILES)
KILL_POINTS = random.Random(0).sample(range(N_BYTES), 30)


@posix
@pytest.mark.parametrize("point", KILL_POINTS)
def test_a_process_killed_at_any_point_is_gone_on_with(start, server, tmp_path, folder, point):
    process = python(start, server, tmp_path)
    server.on_bytes = lambda n_sent: n_sent >= point and process.kill()
    status, _, _ = finish(process)
    assert status == -signal.SIGKILL
    for path in folder.iterdir():
        if path.suffix == ".part":
            original = (DEMO_DIR / path.name.rsplit(".", 2)[0]).read_bytes()
            assert original.startswith(path.read_bytes())
        else:
            assert path.read_bytes() == (DEMO_DIR / path.name).read_bytes()
    server.on_bytes = None
    status, _, stderr = finish(python(start, server, tmp_path))
    assert status == 0, stderr
    check_files(folder)


@posix
def test_ctrl_c_keeps_the_part(start, server, tmp_path, folder):
    process = python(start, server, tmp_path)
    interrupt = functools.cache(lambda: process.send_signal(signal.SIGINT))  # once
    server.on_bytes = lambda n_sent: n_sent > 6_000_000 and interrupt()
    status, stdout, stderr = finish(process)
    assert (status, stdout) == (130, "")
    assert "Traceback" not in stderr
    assert len(parts_in(folder)) == 1
    server.on_bytes = None
    server.requests.clear()
    assert finish(python(start, server, tmp_path))[0] == 0
    assert starts(server)[0] > 0
    check_files(folder)


@pytest.mark.parametrize("n_processes", [2, 4])
def test_processes_at_once_end_with_one_good_copy(start, server, tmp_path, folder, n_processes):
    for process in [python(start, server, tmp_path) for _ in range(n_processes)]:
        status, stdout, stderr = finish(process)
        assert (status, stdout) == (0, f"124M is in {folder}\n"), stderr
    check_files(folder)
    assert server.n_sent == N_BYTES  # by one of them


def test_a_download_that_never_comes_further_ends(server, folder, fetch):
    """Each answer breaks off at the same place, and none may be gone on with."""
    server.faults[DATA_FILE] = [Fault("cut and changing", at=1_000_000)]
    with pytest.raises(OSError, match=r"the connection to .* failed|broke off|in another version"):
        fetch()
    assert len(starts(server)) < 12
    check_files(folder, [DATA_FILE])


def test_a_part_without_a_version_does_not_stay(server, folder, fetch):
    server.has_mark = False
    server.faults[DATA_FILE] = [Fault("cut", at=1_000_000)]
    with pytest.raises(OSError, match=r"failed|broke off"):
        fetch()
    assert parts_in(folder) == [f"{DATA_FILE}.part"]
    server.has_mark = True
    server.faults.clear()
    fetch()
    check_files(folder)
    assert parts_in(folder) == []


def test_a_small_file_cannot_be_endless(server, folder, fetch, tmp_path):
    other = shutil.copytree(DEMO_DIR, tmp_path / "other")
    (other / "hparams.json").write_bytes(bytes(20_000_000))
    server.folders["124M"] = other
    with pytest.raises(OSError, match=r"hparams\.json has more than the 8388608 bytes that such a file"):
        fetch()
    assert server.n_sent < 20_000_000


def test_shards_of_two_versions_are_not_mixed(server, tmp_path, impatient):
    """The model on the hub changes after three of its five shards."""
    served = shutil.copytree(HUB_MODEL, tmp_path / "served")
    server.folders["OWNER/NAME"] = served
    shards = sorted(path.name for path in served.glob("*.safetensors"))
    server.faults[shards[3]] = [Fault("error")]
    with pytest.raises(FileNotFoundError, match="answers 500"):
        find_model_dir("hf:OWNER/NAME", tmp_path / "models", server.url)
    folder = tmp_path / "models" / "hf--OWNER--NAME"
    assert all((folder / shard).exists() for shard in shards[:3])
    content = bytearray((served / shards[1]).read_bytes())
    content[-4:] = np.float32(42).tobytes()
    (served / shards[1]).write_bytes(content)
    config = json.loads((served / "config.json").read_text())
    (served / "config.json").write_text(json.dumps(config | {"layer_norm_epsilon": 0.5}))
    server.faults.clear()
    find_model_dir("hf:OWNER/NAME", tmp_path / "models", server.url)
    for file in ("config.json", *shards):
        assert (folder / file).read_bytes() == (served / file).read_bytes()


def write_shards(folder, tensors, n):
    """Write the tensors into n files, and their index, in the place of what is there -> the files' names."""
    for path in folder.glob("model*"):
        path.unlink()
    shards = [f"model-{shard:05d}-of-{n:05d}.safetensors" for shard in range(1, n + 1)]
    shard_of = {name: shards[number * n // len(tensors)] for number, name in enumerate(sorted(tensors))}
    for shard in shards:
        content = {name: tensor for name, tensor in tensors.items() if shard_of[name] == shard}
        safetensors.numpy.save_file(content, folder / shard)
    (folder / SHARDS).write_text(json.dumps({"weight_map": shard_of}))
    return shards


def test_a_model_that_is_in_other_shards_now(server, tmp_path, impatient):
    """The first of two shards has come, and a part of the other; then there are three, with other values."""
    served = shutil.copytree(HUB_MODEL, tmp_path / "served")
    server.folders["OWNER/NAME"] = served
    tensors = read_safetensors(HUB_MODEL / SHARDS)
    first, second = write_shards(served, tensors, 2)
    # Twice: the redirection counts, too.
    server.faults[second] = [Fault("cut", times=2, at=20_000), Fault("error")]
    with pytest.raises(FileNotFoundError, match="answers 500"):
        find_model_dir("hf:OWNER/NAME", tmp_path / "models", server.url)
    folder = tmp_path / "models" / "hf--OWNER--NAME"
    assert (folder / first).exists()
    assert len(parts_in(folder)) == 1
    shards = write_shards(served, {name: -tensor for name, tensor in tensors.items()}, 3)
    server.faults.clear()
    load_encoder_hparams_and_params("hf:OWNER/NAME", tmp_path / "models", server.url)
    for file in (SHARDS, *shards):
        assert (folder / file).read_bytes() == (served / file).read_bytes()
    for name, tensor in read_safetensors(folder / SHARDS).items():
        np.testing.assert_array_equal(tensor, -tensors[name])


# Disks.


@posix
def test_a_full_disk_is_named_and_what_fits_is_kept(start, server, tmp_path, folder):
    code = (
        "import resource, sys, utils; resource.setrlimit(resource.RLIMIT_FSIZE, (6_000_000, 6_000_000));"
        f"sys.argv = ['utils.py', '124M', '--mirror={server.url}', '--models_dir={tmp_path}'];"
        "from cli import run; run(utils.main)"
    )
    status, stdout, stderr = finish(start(code=code, NO_PROXY="127.0.0.1"))
    assert (status, stdout) == (1, "")
    assert "Traceback" not in stderr
    assert re.search(r"124M is not in .*File too large.* run again with --model_size=124M\n$", stderr)
    (part,) = folder.glob("*.part")
    assert part.stat().st_size == 6_000_000
    check_files(folder, [DATA_FILE])
    assert finish(python(start, server, tmp_path))[0] == 0
    assert starts(server) == [0, 5_999_999]
    check_files(folder)


def test_a_disk_without_room_is_named_before_the_download(server, folder, fetch):
    server.faults[DATA_FILE] = [Fault("huge")]
    with pytest.raises(OSError, match=r"more bytes are needed in .*124M, and only \d+ are free"):
        fetch()
    assert server.fetched == []
    assert not folder.exists()


@posix
def test_a_folder_that_cannot_be_written(server, impatient):
    """Root may write anywhere, so the test is somebody else for a moment."""
    models_dir = Path(tempfile.mkdtemp())
    models_dir.chmod(0o555)
    is_root = os.geteuid() == 0
    try:
        if is_root:
            os.seteuid(65534)
        with pytest.raises(
            FileNotFoundError, match=r"124M is not in .*: .*Permission denied: .*; once that is put"
        ):
            find_model_dir("124M", models_dir, server.url)
    finally:
        if is_root:
            os.seteuid(0)
        models_dir.rmdir()  # it is empty
    assert server.fetched == []


# Who answers.


def test_no_server_makes_us_wait_for_hours():
    def wait(seconds):
        answer = urllib3.HTTPResponse(headers={"Retry-After": seconds}, status=429)
        return download.RETRIES.get_retry_after(answer)

    assert wait("7") == 7
    assert wait("3600") == download.MAX_WAIT == 60
    assert wait("Wed, 21 Oct 2099 07:28:00 GMT") == 60
    for nonsense in ("", "soon", "-5", "9" * 5000, "Fri, 31 Dec 99999999999999999999 23:59:59 GMT"):
        assert wait(nonsense) in (0, 60)


def n_first_contacts(server, file):
    """How often the server was asked about a file, and not for it."""
    return sum((method, name) == ("HEAD", file) for method, name, _ in server.requests)


AT_FIRST = {"busy at first": "answers 429 for http", "overloaded at first": "answers 503 for http"}


@pytest.mark.parametrize("fault", AT_FIRST)
def test_a_server_that_is_busy_at_first_is_asked_once_more(server, folder, fetch, fault):
    server.faults["hparams.json"] = [Fault(fault, times=1)]
    fetch()
    check_files(folder)
    assert n_first_contacts(server, "hparams.json") == 3  # once for the source, and once for the size


@pytest.mark.parametrize("fault", AT_FIRST)
def test_where_a_server_is_still_busy_it_is_the_next_source_or_an_error(server, folder, fetch, fault):
    server.faults["hparams.json"] = [Fault(fault)]
    with pytest.raises(OSError, match=AT_FIRST[fault]):
        fetch()
    assert n_first_contacts(server, "hparams.json") == 2
    assert server.fetched == []
    assert not folder.exists()
    server.folders["openai-community/gpt2"] = HUB_MODEL
    fetch()
    assert sorted(path.name for path in folder.iterdir()) == HUB_FILES


@pytest.mark.parametrize("fault", AT_FIRST)
def test_a_file_about_which_a_server_is_too_busy_to_answer_is_not_left_out(server, tmp_path, fault):
    """Without its generation_config.json a model may end its texts elsewhere."""
    server.faults["generation_config.json"] = [Fault(fault)]
    with pytest.raises(FileNotFoundError, match=AT_FIRST[fault]):
        find_model_dir("hf:OWNER/NAME", tmp_path, server.url)
    assert server.fetched == []


def test_what_a_server_said_of_another_version_does_not_count(server, folder, fetch):
    """The MD5 that HEAD brings is that of a version that the server does not have any more for GET."""
    server.has_md5 = False  # GET brings none, which would be the one that counts
    server.faults[DATA_FILE] = [Fault("wrong md5 of another version", times=1)]
    fetch()
    check_files(folder)


def test_half_a_file_without_its_length_is_known_by_what_HEAD_said(server, tmp_path, impatient):
    """Half a merges.txt is a merges.txt, too."""
    server.folders["OWNER/OTHER"] = HUB_MODEL.with_name("float32")
    server.faults["merges.txt"] = [Fault("cut without length", times=1, at=108)]
    with pytest.raises(FileNotFoundError, match=r"merges\.txt: 108 bytes have come, not \d+"):
        find_model_dir("hf:OWNER/OTHER", tmp_path, server.url)
    assert find_model_dir("hf:OWNER/OTHER", tmp_path, server.url)


@pytest.mark.parametrize("server_has_head", [True, False])
def test_a_model_that_has_another_name_now(server, tmp_path, server_has_head):
    """The hub redirects hf:gpt2 to openai-community/gpt2, and files that neither has to a 404."""
    server.renamed = {"old": "OWNER/NAME"}
    if not server_has_head:
        server.faults = {file: [Fault("no head")] for file in (*HUB_FILES, "added_tokens.json")}
    folder = find_model_dir("hf:old", tmp_path, server.url)
    assert sorted(path.name for path in folder.iterdir()) == HUB_FILES


def test_the_other_server_goes_on_where_the_first_has_failed(server, tmp_path, monkeypatch, impatient):
    """What there is of OpenAI's files does not stand in the way of the hub's."""
    server.folders["openai-community/gpt2"] = HUB_MODEL
    server.faults["vocab.bpe"] = [Fault("error")]
    with pytest.raises(FileNotFoundError, match="answers 500"):
        find_model_dir("124M", tmp_path, server.url)
    del server.folders["124M"]
    find_model_dir("124M", tmp_path, server.url)
    assert len(load_encoder_hparams_and_params("124M", tmp_path)[0].encoder) == 301


def test_a_server_that_trickles_is_given_up_while_it_does(server, folder, fetch, monkeypatch):
    """Each byte comes in time for requests, and the answer never ends: all of it together has a limit."""
    monkeypatch.setattr(download, "ANSWER_TIMEOUT", 0.5)
    server.faults[OPENAI_FILES[0]] = [Fault("trickle")]
    with pytest.raises(OSError, match="does not answer"):
        fetch()
    assert not folder.exists()


def test_no_connection(dead_address, folder, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(OSError, match=r"the connection to 127\.0\.0\.1:.* failed"):
        download_gpt2_files("124M", folder, dead_address)
    assert not folder.exists()


def test_a_model_that_the_hub_does_not_have(server, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"answers 404 for http.*/OWNER/OTHER/resolve/main/config\.json"
    ):
        find_model_dir("hf:OWNER/OTHER", tmp_path, server.url)
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_which_the_hub_has_only_a_pickle(server, tmp_path):
    other = shutil.copytree(HUB_MODEL, tmp_path / "served")
    for path in other.glob("model*"):
        path.unlink()
    (other / "pytorch_model.bin").write_bytes(b"")
    server.folders["OWNER/OTHER"] = other
    with pytest.raises(FileNotFoundError, match=r"has no model\.safetensors; other formats are not read"):
        find_model_dir("hf:OWNER/OTHER", tmp_path / "models", server.url)


def test_a_file_that_does_not_match_the_hub_s_sha256(server, tmp_path, impatient):
    """The hub says it in the redirection. There is no other checksum in these files."""
    other = shutil.copytree(HUB_MODEL.with_name("float32"), tmp_path / "served")
    server.folders["OWNER/OTHER"] = other
    server.has_md5 = False
    server.faults["model.safetensors"] = [Fault("mixed")]
    with pytest.raises(FileNotFoundError, match="what has come does not match the server's own sha256"):
        find_model_dir("hf:OWNER/OTHER", tmp_path / "models", server.url)
    folder = tmp_path / "models" / "hf--OWNER--OTHER"
    assert not (folder / "model.safetensors").exists()
    server.faults.clear()
    assert find_model_dir("hf:OWNER/OTHER", tmp_path / "models", server.url) == folder
    assert (folder / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
