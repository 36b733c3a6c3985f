"""Completions come in the order of the prompts and equal single ones, whatever shares their batch."""

import numpy as np
import pytest
from support.random_params import random_params

import generation.completions
import gpt2
from encoder import END_OF_TEXT, Encoder, bytes_to_unicode
from generation.batches import text_seed
from generation.completions import complete, report_logprobs, split_by_length
from generation.min_p_and_repetition import sample
from generation.scoring import log_softmax

N_HEAD = 3
TOKENS = [*bytes_to_unicode().values(), END_OF_TEXT]
ENCODER = Encoder({token: n for n, token in enumerate(TOKENS)}, [])  # one token per byte
PARAMS = random_params(n_vocab=len(TOKENS), n_ctx=48, n_embd=12, n_layer=2, std=0.3)
PROMPTS = ["the longest prompt of all", "b", "", "medium size", "b", "cc", "medium too", "é", "eight", "b"]


def task_of(n_tokens=8, stop_id=ENCODER.end_of_text, **sampling):
    model = {"params": PARAMS, "n_head": N_HEAD}
    return {**model, "n_tokens_to_generate": n_tokens, "stop_id": stop_id, **sampling}


def ids_alone(prompt, n_tokens, seed, n_before=0, **sampling):
    """The new ids of a prompt without a batch. n_before: how many earlier prompts are the same."""
    ids = ENCODER.encode(prompt) or [ENCODER.end_of_text]
    how = {"stop_id": ENCODER.end_of_text, "seed": text_seed(seed, ids, n_before), "sampler": sample}
    return list(gpt2.generate(ids, PARAMS, N_HEAD, n_tokens, **how, **sampling))


@pytest.mark.parametrize("sampling", [{}, {"temperature": 1.0, "min_p": 0.01}], ids=["greedy", "sampling"])
@pytest.mark.parametrize("n_samples", [1, 3])
@pytest.mark.parametrize("batch_size", [None, 1, 3, 7])
def test_results_are_in_input_order_and_equal_each_prompt_alone(batch_size, n_samples, sampling):
    prompts = [prompt for prompt in PROMPTS for _ in range(n_samples)]
    how = {"seed": 5, "batch_size": batch_size, "n_samples": n_samples}
    results = list(complete(ENCODER, prompts, task_of(**sampling), **how))
    n_before = [prompts[:n].count(prompt) for n, prompt in enumerate(prompts)]
    for prompt, n, result in zip(prompts, n_before, results, strict=True):
        ids = ids_alone(prompt, 8, 5, n, **sampling)
        reason = "length" if len(ids) == 8 else "stop"
        assert result == {"text": ENCODER.decode(ids), "tokens": ids, "finish_reason": reason}
    n_distinct = len({tuple(result["tokens"]) for result in results})
    assert n_distinct == (len(prompts) if sampling else len(set(PROMPTS)))


def test_results_of_a_window_come_before_the_next_window_is_computed(forward_passes, monkeypatch):
    monkeypatch.setattr(generation.completions, "BATCHES_PER_WINDOW", 2)
    results = complete(ENCODER, ["a", "bb", "ccc", "dddd", "e"], task_of(1), batch_size=2)
    for n_passes in (2, 2, 2, 2, 3):
        next(results)
        assert len(forward_passes) == n_passes
    assert [shape for shape, _ in forward_passes] == [(2, 2), (2, 4), (1, 1)]


def test_on_token_is_called_for_each_new_token():
    calls = []
    results = list(complete(ENCODER, PROMPTS, task_of(), on_token=lambda: calls.append(1)))
    assert len(calls) == sum(len(result["tokens"]) for result in results) > len(PROMPTS)


def test_a_stop_string_or_a_stop_id_ends_a_text():
    ids = ids_alone("medium size", 20, None)
    text = ENCODER.decode(ids)
    stop = text[5:7]
    (result,) = complete(ENCODER, ["medium size"], task_of(20), stop=[stop])
    assert result["text"] == text[: text.index(stop)]
    assert result["tokens"] == ids[: len(result["tokens"])]
    assert (result["finish_reason"], len(result["tokens"]) < 20) == ("stop", True)

    (result,) = complete(ENCODER, ["medium size"], task_of(20, stop_id=ids[5]))
    expected = ids[: ids.index(ids[5])]
    assert result == {"text": ENCODER.decode(expected), "tokens": expected, "finish_reason": "stop"}


def test_a_text_that_fills_its_last_token_ends_by_length():
    (result,) = complete(ENCODER, ["b"], task_of(3))
    assert (len(result["tokens"]), result["finish_reason"]) == (3, "length")


def test_no_prompts_give_no_results():
    assert list(complete(ENCODER, [], task_of())) == []


# Batches of similar length.


def split(lengths, batch_size, max_bytes=np.inf, n_tokens=8):
    inputs = [[0] * length for length in lengths]
    return list(split_by_length(range(len(inputs)), inputs, task_of(n_tokens), batch_size, max_bytes))


BYTES_PER_TOKEN = 2 * 2 * 12 * 4  # keys and values, n_layer, n_embd, float32


def test_batches_are_sorted_by_length_and_at_most_batch_size():
    assert split([5, 1, 9, 1, 7], 2) == [[1, 3], [0, 4], [2]]
    assert split([5, 1, 9, 1, 7], 1) == [[1], [3], [0], [4], [2]]
    assert split([5, 1, 9, 1, 7], 5) == split([5, 1, 9, 1, 7], 99) == [[1, 3, 0, 4, 2]]


def test_only_the_window_is_split():
    inputs = [[0] * length for length in (5, 1, 9, 1, 7)]
    assert list(split_by_length(range(2, 5), inputs, task_of(), 2, np.inf)) == [[3, 4], [2]]


def test_bytes_per_token_are_those_of_the_cache():
    assert gpt2.new_cache(PARAMS, N_HEAD, n_slots=7).nbytes == 7 * BYTES_PER_TOKEN


def test_batches_have_at_most_max_bytes_of_cache():
    """With 8 new tokens each, texts of 1, 2 and 12 tokens need 9, 10 and 20 slots."""
    lengths = [12, 1, 2, 12, 1]
    assert split(lengths, 9, 20 * BYTES_PER_TOKEN) == [[1, 4], [2], [0], [3]]
    assert split(lengths, 9, 30 * BYTES_PER_TOKEN) == [[1, 4, 2], [0], [3]]
    assert split(lengths, 9, 30 * BYTES_PER_TOKEN - 1) == [[1, 4], [2], [0], [3]]
    assert split(lengths, 2, 40 * BYTES_PER_TOKEN) == [[1, 4], [2, 0], [3]]


def test_a_text_larger_than_max_bytes_has_its_own_batch():
    assert split([30, 1, 1, 31], 9, 18 * BYTES_PER_TOKEN) == [[1, 2], [0], [3]]
    assert split([30, 1], 9, 1) == [[1], [0]]


def test_no_cache_is_larger_than_the_context():
    """n_ctx is 48: a longer prompt, or one that grows, needs no more slots."""
    assert split([100, 40], 9, 96 * BYTES_PER_TOKEN, n_tokens=30) == [[1, 0]]
    assert split([100, 40], 9, 96 * BYTES_PER_TOKEN - 1, n_tokens=30) == [[1], [0]]


def test_the_default_batch_size_limits_the_cache_and_a_given_one_does_not(forward_passes, monkeypatch):
    monkeypatch.setattr(generation.completions, "MAX_CACHE_BYTES", 2 * 3 * BYTES_PER_TOKEN)
    prompts = ["aa", "bb", "cc", "dd"]
    default = list(complete(ENCODER, prompts, task_of(1)))
    assert [shape for shape, _ in forward_passes] == [(2, 2), (2, 2)]
    forward_passes.clear()
    assert list(complete(ENCODER, prompts, task_of(1), batch_size=4)) == default
    assert [shape for shape, _ in forward_passes] == [(4, 2)]


def test_the_default_batch_does_not_split_the_samples_of_a_prompt(forward_passes, monkeypatch):
    monkeypatch.setattr(generation.completions, "BATCH_SIZE", 4)
    prompts = [text for text in ("aa", "bb", "cc") for _ in range(3)]
    list(complete(ENCODER, prompts, task_of(2), n_samples=3))
    assert [shape for shape, _ in forward_passes] == [(1, 2), (3, 1)] * 3


# Log-probabilities.


def test_logprobs_report_each_token_and_its_alternatives():
    options = {"seed": 2, "batch_size": 3, "logprobs": 4}
    results = complete(ENCODER, PROMPTS, task_of(4, temperature=1.0), **options)
    for prompt, result in zip(PROMPTS, results, strict=True):
        ids = ENCODER.encode(prompt) or [ENCODER.end_of_text]
        assert [entry["id"] for entry in result["logprobs"]] == result["tokens"]
        for entry in result["logprobs"]:
            log_probs = log_softmax(gpt2.gpt2(ids, **PARAMS, n_head=N_HEAD)[-1])
            top = entry["top_logprobs"]
            assert [alternative["id"] for alternative in top] == np.argsort(-log_probs)[:4].tolist()
            for reported in (entry, *top):
                assert reported["logprob"] == pytest.approx(log_probs[reported["id"]], abs=1e-3)
                assert reported["token"] == ENCODER.decode([reported["id"]])
            ids.append(entry["id"])


def test_without_alternatives_only_the_token_is_reported():
    logits = np.arange(len(TOKENS), dtype=np.float32)
    log_prob = round(float(log_softmax(logits)[3]), 4)
    expected = {"id": 3, "token": ENCODER.decode([3]), "logprob": log_prob, "top_logprobs": []}
    assert report_logprobs(ENCODER, 3, logits, 0) == expected
