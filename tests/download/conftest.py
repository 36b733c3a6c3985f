"""The hub of the tests."""

import pytest


@pytest.fixture
def hub(server, monkeypatch):
    """The server on this machine as the hub, not as a mirror."""
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    return server
