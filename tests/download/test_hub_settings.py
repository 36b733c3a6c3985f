"""The settings of the hub's tools: our reading of the environment, compared with huggingface_hub's."""

import json
import os
import subprocess
import sys

import pytest

from download.hub_settings import hub_cache_dir, hub_token, offline_variable

ENVIRONMENTS = [
    {},
    {"HF_HOME": "{home}/other"},
    {"HF_HOME": "~/other", "HF_TOKEN": "hf_a"},
    {"HF_HOME": "$HOME/other"},
    {"XDG_CACHE_HOME": "{home}/xdg"},
    {"XDG_CACHE_HOME": "{home}/xdg", "HF_HUB_CACHE": "~/cache"},
    {"HUGGINGFACE_HUB_CACHE": "{home}/old"},
    {"HUGGINGFACE_HUB_CACHE": "{home}/old", "HF_HUB_CACHE": "{home}/new"},
    {"HF_TOKEN": " hf_a\r\n", "HUGGING_FACE_HUB_TOKEN": "hf_b"},
    {"HF_TOKEN": "", "HUGGING_FACE_HUB_TOKEN": "hf_b"},
    {"HF_TOKEN": " \n"},
    {"HF_TOKEN_PATH": "{home}/token"},
    {"HF_TOKEN_PATH": "{home}/absent"},
    {"HF_TOKEN": "hf_a", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"},
    {"HF_TOKEN": "hf_a", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "0"},
    {"HF_HUB_OFFLINE": "yes"},
    {"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "1"},
    {"HF_HUB_OFFLINE": "", "TRANSFORMERS_OFFLINE": "on"},
    {"TRANSFORMERS_OFFLINE": "false"},
]
READ_WITH_HUGGINGFACE_HUB = """
import importlib, json, os, sys
from huggingface_hub import constants
from huggingface_hub.utils import _headers
for environment in json.load(sys.stdin):
    os.environ.update(environment)
    importlib.reload(constants)
    print(json.dumps([constants.HF_HUB_CACHE, _headers.get_token_to_send(None), constants.HF_HUB_OFFLINE]))
    for name in environment:
        del os.environ[name]
"""


def test_the_environment_is_read_as_huggingface_hub_reads_it(tmp_path, monkeypatch):
    pytest.importorskip("huggingface_hub")
    monkeypatch.delenv("HF_HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "token").write_text("hf_of_the_path\n")
    (tmp_path / ".cache" / "huggingface").mkdir(parents=True)
    (tmp_path / ".cache" / "huggingface" / "token").write_text("  hf_of_the_login\n")
    environments = [
        {name: value.format(home=tmp_path) for name, value in environment.items()}
        for environment in ENVIRONMENTS
    ]
    command = [sys.executable, "-W", "ignore", "-c", READ_WITH_HUGGINGFACE_HUB]
    printed = subprocess.run(
        command, input=json.dumps(environments), stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    expected = [json.loads(line) for line in printed.splitlines()]
    for environment, (cache, token, is_offline) in zip(environments, expected, strict=True):
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            assert os.fspath(hub_cache_dir()) == os.path.normpath(cache), environment
            assert hub_token() == token, environment
            assert (offline_variable() is not None) == is_offline, environment


@pytest.mark.parametrize("token", ["hf_a\u00e9", "hf_a b", "hf_\ta", "hf_a\0", "\u2018hf_a\u2019"])
def test_a_malformed_token_is_not_shown(hub_home, token):
    (hub_home / "token").write_text(token, encoding="utf-8")
    with pytest.raises(ValueError, match="token: the token has a character that no token can have") as error:
        hub_token()
    assert token not in str(error.value)
    assert "hf_a" not in str(error.value)


def test_an_unreadable_token_file_is_no_token(hub_home):
    (hub_home / "token").mkdir()
    assert hub_token() is None
