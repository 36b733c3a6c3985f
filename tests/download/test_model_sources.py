"""Which server a model is downloaded from: OpenAI's storage, the hub, or a mirror."""

import pytest
from support.downloads import HUB_FILES
from support.model_server import Fault
from support.paths import HUB_MODEL, files_in

from download import model_download, model_sources
from loading.model_folder import OPENAI_FILES
from utils import find_model_dir, load_encoder_hparams_and_params


@pytest.fixture
def nothing_published(monkeypatch):
    """Accept any file: the test models are not the published ones."""
    monkeypatch.setattr(model_download, "PUBLISHED", {})


def test_the_hub_replaces_openai_if_openai_is_unreachable(
    server, no_network, nothing_published, tmp_path, monkeypatch
):
    server.folders = {"openai-community/gpt2": HUB_MODEL}
    monkeypatch.setattr(model_sources, "HUB_URL", server.url)
    _, hparams, params = load_encoder_hparams_and_params(None, tmp_path)
    assert hparams["n_layer"] == 3
    assert "lm_head" in params
    server.requests.clear()
    find_model_dir("124M", tmp_path)
    assert server.requests == []


def test_openai_is_preferred_to_the_hub(server, nothing_published, tmp_path, monkeypatch):
    server.folders["openai-community/gpt2"] = HUB_MODEL
    monkeypatch.setattr(model_sources, "OPENAI_URL", server.url)
    monkeypatch.setattr(model_sources, "HUB_URL", server.url)
    find_model_dir("124M", tmp_path)
    assert files_in(tmp_path / "124M") == sorted(OPENAI_FILES)


def test_the_hub_completes_a_download_that_openai_began(server, tmp_path, fast_retries):
    """OpenAI's files in the folder do not interfere."""
    server.folders["openai-community/gpt2"] = HUB_MODEL
    server.faults["vocab.bpe"] = [Fault("500")]
    with pytest.raises(FileNotFoundError, match="returned status 500"):
        find_model_dir("124M", tmp_path, server.url)
    del server.folders["124M"]
    find_model_dir("124M", tmp_path, server.url)
    assert len(load_encoder_hparams_and_params("124M", tmp_path)[0].encoder) == 301


def test_a_mirror_can_have_the_layout_of_the_hub(server, tmp_path):
    server.folders = {"openai-community/gpt2": HUB_MODEL}
    find_model_dir("124M", tmp_path, f"{server.url}/")
    assert files_in(tmp_path / "124M") == HUB_FILES


@pytest.mark.parametrize("mirror", ["server", "ftp://server", "file:///etc", "http://", "https:///models"])
def test_a_mirror_must_be_an_HTTP_URL(tmp_path, mirror):
    with pytest.raises(ValueError, match=f"mirror: '{mirror}' is not a URL that begins with http"):
        find_model_dir("124M", tmp_path, mirror)
