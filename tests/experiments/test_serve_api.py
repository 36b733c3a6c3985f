"""The API of serve.py: its texts are those of gpt2.py, and its log-probabilities those of transformers."""

import json

import pytest
import torch
from support.experiment_helpers import PROMPT, run_reference

GREEDY = {"temperature": 0, "max_tokens": 8}


@pytest.fixture(scope="module")
def complete(api_client):
    """complete(**fields): the body of the response."""

    def complete(**fields):
        response = api_client.post("/v1/completions", json={"model": "demo", "prompt": PROMPT, **fields})
        assert response.status_code == 200, response.text
        return response.json()

    return complete


@pytest.fixture(scope="module")
def stream(api_client):
    """stream(**fields): the contents of the events, without [DONE]."""

    def stream(**fields):
        fields = {"model": "demo", "prompt": PROMPT, "stream": True, **fields}
        with api_client.stream("POST", "/v1/completions", json=fields) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            lines = [line for line in response.iter_lines() if line]
        assert lines.pop() == "data: [DONE]"
        return [json.loads(line.removeprefix("data: ")) for line in lines]

    return stream


def texts(body):
    return [choice["text"] for choice in body["choices"]]


def join_streamed(events):
    """Join the text of each choice, and its lists of log-probabilities."""
    joined = {}
    for choice in (choice for event in events for choice in event["choices"]):
        whole = joined.setdefault(choice["index"], {"text": "", "finish_reason": None, "logprobs": {}})
        assert whole["finish_reason"] is None
        whole["text"] += choice["text"]
        whole["finish_reason"] = choice["finish_reason"]
        for name, values in (choice["logprobs"] or {}).items():
            whole["logprobs"].setdefault(name, []).extend(values)
    return [joined[index] for index in range(len(joined))]


# Texts.


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0},
        {"seed": 1},
        {"seed": 2, "temperature": 0.7, "top_p": 0.9},
        {"seed": 2**40, "temperature": 2},
    ],
    ids=str,
)
def test_text_is_that_of_gpt2(complete, stream, run, fields):
    flags = [f"--{name}={value}" for name, value in fields.items()]
    status, stdout, _ = run("--model_size=demo", "-n", "16", "--quiet", *flags, PROMPT)
    assert status == 0
    body = complete(max_tokens=16, **fields)
    assert [text + "\n" for text in texts(body)] == [stdout]
    assert texts(complete(**fields)) == texts(body)  # 16 is OpenAI's default
    assert join_streamed(stream(**fields))[0]["text"] + "\n" == stdout


def test_samples_are_those_of_gpt2(complete, run):
    arguments = ["--model_size=demo", "-n", "6", "--quiet", "--seed=5", "--n_samples=3"]
    status, stdout, _ = run(*arguments, PROMPT)
    assert status == 0
    body = complete(max_tokens=6, seed=5, n=3)
    assert texts(body) == [json.loads(line)["text"] for line in stdout.splitlines()]
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    assert len(set(texts(body))) == 3
    assert texts(complete(max_tokens=6, seed=5, prompt=[PROMPT] * 3)) == texts(body)


def test_sampling_without_a_seed_varies(complete):
    body = complete(n=8, max_tokens=8)
    assert len(set(texts(body))) > 1
    assert body["usage"]["completion_tokens"] <= 64


def test_prompts_can_be_texts_or_ids(complete, encoder, generated_text):
    prompts = [PROMPT, "Once upon a time", "The king"]
    expected = [generated_text(prompt, 8)[:-1] for prompt in prompts]
    ids = [encoder.encode(prompt) for prompt in prompts]
    assert texts(complete(prompt=prompts, **GREEDY)) == expected
    assert texts(complete(prompt=ids, **GREEDY)) == expected
    assert [texts(complete(prompt=prompt, **GREEDY)) for prompt in prompts] == [[text] for text in expected]
    assert [texts(complete(prompt=prompt, **GREEDY)) for prompt in ids] == [[text] for text in expected]


def test_no_prompt_begins_a_text(complete, encoder, generated_text):
    seed = [4, 0, encoder.end_of_text]  # that of the request, no equal prompt before, and the ids
    expected = generated_text("", 8, seed, temperature=1)[:-1]
    for prompt in ("", None, [encoder.end_of_text]):
        assert texts(complete(prompt=prompt, seed=4, max_tokens=8)) == [expected]


def test_response_has_the_fields_of_openai(complete, ids):
    body = complete(**GREEDY)
    assert body["id"].startswith("cmpl-")
    assert (body["object"], body["model"]) == ("text_completion", "demo")
    assert isinstance(body["created"], int)
    assert body["usage"] == {"prompt_tokens": len(ids), "completion_tokens": 8, "total_tokens": len(ids) + 8}
    assert {**body["choices"][0], "text": ""} == {
        "text": "",
        "index": 0,
        "logprobs": None,
        "finish_reason": "length",
    }


def test_values_that_change_nothing_are_accepted(complete):
    neutral = {"presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {}, "best_of": 1, "user": "me"}
    neutral |= {"suffix": None, "logprobs": None, "stop": None, "seed": None, "stream_options": None}
    neutral |= {"top_p": 1, "n": 1, "echo": False, "stream": False, "anything": None}
    assert texts(complete(**GREEDY, **neutral)) == texts(complete(**GREEDY))


@pytest.mark.parametrize("n_held", [0, 1, 5])
def test_a_stop_string_ends_the_text(complete, stream, generated_text, n_held):
    """n_held: how many characters of the stop string are in an earlier token."""
    full = generated_text(PROMPT, 24)[:-1]
    stop = full[20 - n_held : 22]
    fields = {"temperature": 0, "max_tokens": 24, "stop": ["never", stop]}
    choice = complete(**fields)["choices"][0]
    assert (choice["text"], choice["finish_reason"]) == (full.partition(stop)[0], "stop")
    streamed = join_streamed(stream(**fields))[0]
    assert (streamed["text"], streamed["finish_reason"]) == (choice["text"], "stop")


def test_each_text_of_a_batch_ends_on_its_own(complete, generated_text):
    prompts = [PROMPT, "Once upon a time", "The king"]
    full = [generated_text(prompt, 24)[:-1] for prompt in prompts]
    choices = complete(prompt=prompts, temperature=0, max_tokens=24, stop=full[1][10:14])["choices"]
    for text, choice in zip(full, choices, strict=True):
        before, stop, _ = text.partition(full[1][10:14])
        assert (choice["text"], choice["finish_reason"]) == (before, "stop" if stop else "length")


def test_end_of_text_ends_the_text(complete, encoder, generated_ids):
    """Its token counts and has a log-probability, but it is not in the text."""
    ids = generated_ids("The end.", 240)
    assert len(ids) < 240
    prompt = [*encoder.encode("The end."), *ids[:-2]]
    body = complete(prompt=prompt, max_tokens=9, temperature=0, logprobs=0)
    choice = body["choices"][0]
    assert (choice["text"], choice["finish_reason"]) == (encoder.decode(ids[-2:]), "stop")
    assert choice["logprobs"]["tokens"][2:] == ["<|endoftext|>"]
    assert body["usage"]["completion_tokens"] == 3


# Log-probabilities.


@pytest.mark.parametrize("prompt", [PROMPT, "naïve 猫"])
def test_log_probabilities_are_those_of_transformers(complete, encoder, reference, prompt):
    """Those of the prompt and those of new tokens, and of the most probable tokens."""
    choice = complete(prompt=prompt, max_tokens=4, temperature=0, echo=True, logprobs=3)["choices"][0]
    logprobs = choice["logprobs"]
    ids = encoder.encode(choice["text"])
    log_probs = torch.log_softmax(run_reference(reference, ids).logits[0], dim=-1)  # [n_seq, n_vocab]
    assert logprobs["token_logprobs"][0] is logprobs["top_logprobs"][0] is None
    assert len(ids) == len(encoder.encode(prompt)) + 4
    assert {len(values) for values in logprobs.values()} == {len(ids)}
    for place in range(1, len(ids)):
        token, log_prob = logprobs["tokens"][place], logprobs["token_logprobs"][place]
        assert log_prob == pytest.approx(log_probs[place - 1, ids[place]].item(), abs=1e-4)
        top = logprobs["top_logprobs"][place]
        assert top[token] == log_prob  # identical
        expected = log_probs[place - 1].topk(3)
        assert sorted(top.values())[-3:] == pytest.approx(sorted(expected.values.tolist()), abs=1e-4)
        assert len(top) == 3 + (ids[place] not in expected.indices)


def test_echo_of_a_long_prompt_is_scored_in_chunks(complete, encoder, model, reference):
    """A prompt as long as the context, with max_tokens 0, is the longest possible one."""
    n_ctx = len(model["params"]["wpe"])
    ids = (encoder.encode("Once upon a time there was a king. ") * 99)[:n_ctx]
    choice = complete(prompt=ids, max_tokens=0, echo=True, logprobs=1)["choices"][0]
    assert (choice["text"], choice["finish_reason"]) == (encoder.decode(ids), "length")
    log_probs = torch.log_softmax(run_reference(reference, ids).logits[0], dim=-1)
    expected = log_probs[range(n_ctx - 1), ids[1:]].tolist()
    assert choice["logprobs"]["token_logprobs"][1:] == pytest.approx(expected, abs=1e-3)


def test_offsets_count_characters(complete):
    prompt = "A König, 猫 a"
    logprobs = complete(prompt=prompt, max_tokens=0, echo=True, logprobs=0)["choices"][0]["logprobs"]
    position, pending = 0, b""
    for token, offset in zip(logprobs["tokens"], logprobs["text_offset"], strict=True):
        assert offset == position
        is_bytes = token.startswith("bytes:")
        pending += bytes.fromhex(token[6:].replace("\\x", "")) if is_bytes else token.encode()
        text = pending.decode(errors="ignore")
        position, pending = position + len(text), pending[len(text.encode()) :]
    assert position == len(prompt)
    assert "bytes:\\xc3" in logprobs["tokens"]


def test_offsets_begin_after_the_prompt(complete):
    choice = complete(max_tokens=4, temperature=0, logprobs=0)["choices"][0]
    echo = complete(max_tokens=4, temperature=0, logprobs=0, echo=True)["choices"][0]
    assert echo["text"] == PROMPT + choice["text"]
    assert choice["logprobs"]["text_offset"] == echo["logprobs"]["text_offset"][-4:]
    assert choice["logprobs"]["text_offset"][0] == len(PROMPT)
    assert "".join(choice["logprobs"]["tokens"]) == choice["text"]


# Streams.


def test_stream_is_the_response_in_parts(complete, stream):
    fields = {"prompt": [PROMPT, "Tom"], "n": 2, "seed": 3, "max_tokens": 6, "logprobs": 2, "echo": True}
    whole = complete(**fields)
    events = stream(**fields, stream_options={"include_usage": True})
    assert join_streamed(events) == [
        {name: choice[name] for name in ("text", "finish_reason", "logprobs")} for choice in whole["choices"]
    ]
    assert (events[-1]["choices"], events[-1]["usage"]) == ([], whole["usage"])
    assert {str(event["usage"]) for event in events[:-1]} == {"None"}
    assert len({event["id"] for event in events}) == 1


def test_stream_has_no_usage_by_default(stream):
    assert all("usage" not in event and len(event["choices"]) == 1 for event in stream(max_tokens=2))


# Models and the tokenizer.


def test_models_lists_the_model(api_client):
    (model,) = api_client.get("/v1/models").json()["data"]
    assert (model["id"], model["object"]) == ("demo", "model")


@pytest.mark.parametrize("text", [PROMPT, "naïve 猫", "", "<|endoftext|>"])
def test_tokenize_and_detokenize(api_client, encoder, text):
    body = api_client.post("/tokenize", json={"prompt": text, "return_token_strs": True}).json()
    ids = encoder.encode(text, allowed_special="all")
    assert (body["tokens"], body["count"], body["max_model_len"]) == (ids, len(ids), 256)
    assert len(body["token_strs"]) == len(ids)
    assert api_client.post("/detokenize", json={"tokens": ids}).json() == {"prompt": text}


def test_tokenizer_info(api_client):
    info = api_client.get("/tokenizer_info").json()
    assert (info["eos_token"], info["model_max_length"], info["vocab_size"]) == ("<|endoftext|>", 256, 4096)
