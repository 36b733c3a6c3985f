"""Programs for OpenAI's completions API work with serve.py: openai, llm, LangChain and curl."""

import asyncio
import json
import os
import shlex
import shutil
import subprocess
import sys

import pytest
from support.documents import code_blocks
from support.experiment_helpers import PROMPT
from support.paths import ROOT

GREEDY = {"model": "demo", "prompt": PROMPT, "temperature": 0, "max_tokens": 8}


@pytest.fixture
def url(api_server, monkeypatch):
    """The address of the server, for clients that read the proxy from the environment."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return f"{api_server.url}/v1"


@pytest.fixture
def expected(generated_text):
    return generated_text(PROMPT, 8)[:-1]


@pytest.fixture
def openai():
    return pytest.importorskip("openai")


def test_openai(openai, url, expected):
    with openai.OpenAI(base_url=url, api_key="none") as client:
        assert [model.id for model in client.models.list()] == ["demo"]
        completion = client.completions.create(**GREEDY, logprobs=2)
    (choice,) = completion.choices
    assert (choice.text, choice.finish_reason) == (expected, "length")
    assert completion.usage.completion_tokens == len(choice.logprobs.token_logprobs) == 8


def test_openai_streams(openai, url, expected):
    with openai.OpenAI(base_url=url, api_key="none") as client:
        options = {"stream": True, "stream_options": {"include_usage": True}}
        *chunks, last = client.completions.create(**GREEDY, **options)
    assert "".join(chunk.choices[0].text for chunk in chunks) == expected
    assert last.usage.completion_tokens == 8


def test_openai_async(openai, url, expected):
    async def complete_twice():
        async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:
            chunks = [chunk async for chunk in await client.completions.create(**GREEDY, stream=True)]
            completion = await client.completions.create(**GREEDY)
        return "".join(chunk.choices[0].text for chunk in chunks), completion.choices[0].text

    assert asyncio.run(complete_twice()) == (expected, expected)


def test_openai_raises_the_errors(openai, url):
    with openai.OpenAI(base_url=url, api_key="none") as client:
        with pytest.raises(openai.BadRequestError, match="suffix") as caught:
            client.completions.create(**GREEDY, suffix="end")
        assert (caught.value.param, caught.value.code) == ("suffix", "unsupported_field")
        with pytest.raises(openai.NotFoundError, match="gpt-4"):
            client.completions.create(**{**GREEDY, "model": "gpt-4"})


def test_langchain(url, expected):
    langchain_openai = pytest.importorskip("langchain_openai")
    settings = {"base_url": url, "api_key": "none", "model": "demo", "temperature": 0, "max_tokens": 8}
    model = langchain_openai.OpenAI(**settings)
    assert model.invoke(PROMPT) == expected
    assert "".join(model.stream(PROMPT)) == expected
    results = model.generate([PROMPT, "Tom"]).generations
    assert (len(results), results[0][0].text) == (2, expected)


@pytest.mark.parametrize("flags", [[], ["--no-stream"]], ids=["stream", "no-stream"])
def test_llm(url, expected, flags, tmp_path):
    pytest.importorskip("llm")
    settings = [{"model_id": "gpt2", "model_name": "demo", "api_base": url, "completion": True}]
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps(settings))  # JSON is also YAML
    command = [sys.executable, "-m", "llm", "-m", "gpt2", "-o", "temperature", "0", "-o", "max_tokens", "8"]
    env = {**os.environ, "LLM_USER_PATH": str(tmp_path), "PYTHONIOENCODING": "utf-8"}
    options = {"env": env, "stdin": subprocess.DEVNULL, "capture_output": True, "encoding": "utf-8"}
    done = subprocess.run([*command, *flags, PROMPT], **options, timeout=300)
    assert (done.returncode, done.stdout) == (0, f"{expected}\n"), done.stderr


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_curl(url, expected):
    for fields in (GREEDY, {**GREEDY, "stream": True}):
        command = ["curl", "-sN", f"{url}/completions", "-d", json.dumps(fields)]
        printed = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=300).stdout
        events = [json.loads(line.removeprefix("data: ")) for line in printed.splitlines() if "{" in line]
        assert "".join(event["choices"][0]["text"] for event in events) == expected


@pytest.mark.parametrize("language", ["python", "sh"])
def test_the_commands_of_the_document_work(openai, url, generated_text, language):
    """Those that use the server: docs/serving.md."""
    blocks = [code for name, code in code_blocks(ROOT / "docs" / "serving.md") if name == language]
    blocks = [code for code in blocks if not code.startswith("lm_eval")]  # tests/experiments/test_lm_eval.py
    code = blocks[-1].replace("http://127.0.0.1:8000/v1", url)
    assert code != blocks[-1]
    command = [sys.executable, "-c", code] if language == "python" else shlex.split(code)
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=300, check=True)
    if language == "python":
        assert done.stdout == generated_text("Once upon a time", 16)
        assert sum(line != "" for line in code.splitlines()) <= 5
    else:
        assert done.stdout.endswith("data: [DONE]\n\n")
        assert done.stdout.count('"choices"') > 8
