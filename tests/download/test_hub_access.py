"""Revisions, private and gated models, and which hosts receive the token of the hub."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from support.command_line import is_one_line
from support.downloads import HUB_FILES
from support.paths import HUB_MODEL, files_in

from utils import find_model_dir, load_encoder_hparams_and_params

TOKEN = "hf_secret"


@pytest.fixture
def token(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return TOKEN


# Revisions.


@pytest.fixture
def revisions(hub, tmp_path):
    """The hub has two revisions of OWNER/NAME, with different values of eps -> their names."""
    names = ["main", "refs/pr/1"]
    for name, eps in zip(names, [0.25, 0.5], strict=True):
        folder = shutil.copytree(HUB_MODEL, tmp_path / f"served {eps}")
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        (folder / "config.json").write_text(json.dumps(config | {"layer_norm_epsilon": eps}))
        hub.folders[f"OWNER/NAME@{name}"] = folder
    del hub.folders["OWNER/NAME"]
    return names


def test_each_revision_has_its_own_folder(revisions, tmp_path):
    folders = set()
    for revision, eps in zip(revisions, [0.25, 0.5], strict=True):
        model = f"hf:OWNER/NAME@{revision}"
        _, _, params = load_encoder_hparams_and_params(model, tmp_path / "models")
        assert params["ln_f"]["eps"] == np.float32(eps)
        folders.add(find_model_dir(model, tmp_path / "models", offline=True))
    assert files_in(tmp_path / "models") == sorted(folder.name for folder in folders)
    assert len(folders) == 2
    assert find_model_dir("hf:OWNER/NAME", tmp_path / "models", offline=True).name == "hf--OWNER--NAME"


def test_an_unknown_revision_is_reported(hub, tmp_path):
    hub.rejections["OWNER/NAME"] = lambda authorization: (404, "RevisionNotFound")
    message = r"/OWNER/NAME/resolve/a%2Fb/config\.json; the model has no such branch, tag or commit"
    with pytest.raises(FileNotFoundError, match=message):
        find_model_dir("hf:OWNER/NAME@a/b", tmp_path)
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("revision", ["", "..", "../../x", "a\\b", "a b"])
def test_an_invalid_revision_is_rejected(hub, tmp_path, revision):
    with pytest.raises(ValueError, match="is not the name of a branch, tag or commit"):
        find_model_dir(f"hf:OWNER/NAME@{revision}", tmp_path)
    assert hub.requests == []
    assert files_in(tmp_path) == []


# The endpoint.


def test_HF_ENDPOINT_replaces_the_hub(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", f"{hub.url}/")
    assert files_in(find_model_dir("hf:OWNER/NAME", tmp_path)) == HUB_FILES


def test_a_mirror_is_preferred_to_HF_ENDPOINT(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "not a URL")
    find_model_dir("hf:OWNER/NAME", tmp_path, server.url)


@pytest.mark.parametrize("endpoint", ["huggingface.co", "ftp://user:s3cret@server", "https://"])
def test_HF_ENDPOINT_must_be_an_HTTP_URL(tmp_path, monkeypatch, endpoint):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(ValueError, match=r"^HF_ENDPOINT: .* is not a URL that begins with http") as error:
        find_model_dir("hf:OWNER/NAME", tmp_path)
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_the_hub_s_offline_mode_sends_no_request(hub, tmp_path, monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    with pytest.raises(FileNotFoundError, match=f"NAME is not in .*; {variable} forbids"):
        find_model_dir("hf:OWNER/NAME", tmp_path)
    assert hub.requests == []


# The token.


def test_the_token_is_sent_to_the_hub_and_to_no_other_host(hub, tmp_path, token):
    """The weights redirect to another host, which is the same server."""
    hub.cdn_url = hub.url.replace("127.0.0.1", "localhost")
    assert files_in(find_model_dir("hf:OWNER/NAME", tmp_path)) == HUB_FILES
    hosts = {hub.url: f"Bearer {TOKEN}", hub.cdn_url: None}
    assert set(hub.authorizations) == {(url.removeprefix("http://"), sent) for url, sent in hosts.items()}


def test_the_token_is_sent_as_huggingface_hub_sends_it(hub, tmp_path, token):
    pytest.importorskip("huggingface_hub")
    hub.cdn_url = hub.url.replace("127.0.0.1", "localhost")
    find_model_dir("hf:OWNER/NAME", tmp_path)
    sent, hub.authorizations = set(hub.authorizations), []
    code = "from huggingface_hub import hf_hub_download as get; import sys; get('OWNER/NAME', sys.argv[1])"
    for file in HUB_FILES:
        subprocess.run([sys.executable, "-W", "ignore", "-c", code, file], check=True, capture_output=True)
    assert set(hub.authorizations) == sent


def test_a_mirror_receives_no_token(server, tmp_path, token):
    find_model_dir("hf:OWNER/NAME", tmp_path, server.url)
    assert {sent for _, sent in server.authorizations} == {None}


def test_a_mirror_that_is_the_hub_receives_the_token(hub, tmp_path, token):
    find_model_dir("hf:OWNER/NAME", tmp_path, f"{hub.url}/")
    assert f"Bearer {TOKEN}" in {sent for _, sent in hub.authorizations}


def test_openai_receives_no_token(hub, no_network, tmp_path, token, monkeypatch):
    from download import model_download, model_sources

    monkeypatch.setattr(model_download, "PUBLISHED", {})
    monkeypatch.setattr(model_sources, "OPENAI_URL", hub.url.replace("127.0.0.1", "localhost"))
    find_model_dir("124M", tmp_path)
    host = hub.url.removeprefix("http://")
    assert {sent for name, sent in hub.authorizations if name != host} == {None}


def test_the_token_is_preferred_to_netrc(hub, tmp_path, token, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password s3cret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    hub.cdn_url = hub.url.replace("127.0.0.1", "localhost")
    find_model_dir("hf:OWNER/NAME", tmp_path / "models")
    assert {sent for _, sent in hub.authorizations} == {f"Bearer {TOKEN}", None}


def test_a_malformed_token_is_an_error_of_one_line(hub, run, tmp_path):
    result = run("124M", f"--models_dir={tmp_path}", script="utils.py", HF_TOKEN="hf_s3 cret")
    assert result[:2] == (2, "")
    assert is_one_line(result[2])
    assert result[2].startswith("utils.py: HF_TOKEN: the token has a character that no token can have")
    assert "s3" not in result[2]


# Gated and private models.


def test_a_gated_model_needs_a_token(hub, tmp_path, monkeypatch):
    hub.rejections["OWNER/NAME"] = lambda sent: None if sent == f"Bearer {TOKEN}" else (401, "GatedRepo")
    page = f"{hub.url}/OWNER/NAME"
    message = f"the model is gated: accept its terms on {page}, and set HF_TOKEN to a token of your account"
    with pytest.raises(FileNotFoundError, match=message):
        find_model_dir("hf:OWNER/NAME", tmp_path)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert files_in(find_model_dir("hf:OWNER/NAME", tmp_path)) == HUB_FILES


REJECTIONS = {
    (401, "GatedRepo"): "the model is gated: accept its terms on .*, and set HF_TOKEN",
    (401, "RepoNotFound"): "the model does not exist, or it is private or gated: .* set HF_TOKEN",
    (401, ""): "the model is gated or private: accept its terms on .*, and set HF_TOKEN",
    (403, ""): "the model is gated or private: accept its terms on .*, and set HF_TOKEN",
    (404, "EntryNotFound"): "the model has no such file",
}
REJECTIONS_OF_A_TOKEN = {
    (403, "GatedRepo"): "the model is gated; the token that was sent has no access",
    (404, "RepoNotFound"): "the model does not exist, or it is private or gated; the token that",
    (401, ""): "the token that was sent is invalid",
    (403, ""): "the model is gated or private; the token that was sent has no access",
}


@pytest.mark.parametrize("answer", REJECTIONS)
def test_a_rejection_is_explained(hub, tmp_path, answer):
    hub.rejections["OWNER/NAME"] = lambda sent: answer
    with pytest.raises(FileNotFoundError, match=f"returned status {answer[0]} .*; {REJECTIONS[answer]}"):
        find_model_dir("hf:OWNER/NAME", tmp_path)


@pytest.mark.parametrize("answer", REJECTIONS_OF_A_TOKEN)
def test_a_rejection_of_the_token_is_explained(hub, tmp_path, token, answer):
    hub.rejections["OWNER/NAME"] = lambda sent: answer
    message = f"returned status {answer[0]} .*; {REJECTIONS_OF_A_TOKEN[answer]}"
    with pytest.raises(FileNotFoundError, match=message) as error:
        find_model_dir("hf:OWNER/NAME", tmp_path)
    assert TOKEN not in str(error.value)
