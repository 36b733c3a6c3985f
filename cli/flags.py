"""The flags of `python gpt2.py`: the parameters of `main`. Its docstring is the text of --help."""

from cli.interactive import converse
from cli.output import write_json_lines, write_scores, write_text
from cli.prompts import read_prompts
from generation.batches import text_seed
from generation.min_p_and_repetition import check_sampling, sample
from generation.prompt_lookup import generate_with_lookup
from gpt2 import generate
from utils import load_encoder_hparams_and_params


def main(
    prompt: str = None,
    n_tokens_to_generate: int = 40,
    model_size: str = None,
    temperature: float = None,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = None,
    stop: list = (),
    n_samples: int = 1,
    prompt_file: str = None,
    prompts_file: str = None,
    unconditional: bool = False,
    score: bool = False,
    logprobs: int = None,
    quiet: bool = False,
    stream: bool = True,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    batch_size: int = None,
    stride: int = None,
    special_tokens: bool = None,
    offline: bool = False,
    models_dir: str = None,
    mirror: str = None,
):
    """Continue a text with GPT-2.

    Examples:
        python gpt2.py --model_size=demo "Once upon a time"
        python gpt2.py --temperature=0.8 --top_p=0.9 --seed=1 -n 100 "The cat sat on the"

    Args:
        prompt: the text to continue. The default is standard input, or an interactive session in a terminal.
        n_tokens_to_generate: the maximum number of new tokens, also -n. A token is a word or a part of one.
        model_size: 124M, 355M, 774M, 1558M, demo, a folder, or a model on the hub: hf:OWNER/NAME or
            hf:OWNER/NAME@REVISION. Sizes and hub models are downloaded on first use, demo is bundled. The
            default is 124M, or demo if 124M is not available.
        temperature: 0 is greedy: the most probable token. 1 samples from the model's own probabilities, and
            higher values sample more freely. The default is 0, or 1 with top_k, top_p, min_p, seed or
            n_samples.
        top_k: sample from the k most probable tokens. 0 disables it.
        top_p: sample from the smallest set of most probable tokens that together reach this probability. The
            token that crosses it stays in. OpenAI's code for GPT-2 rules it out. 1 disables it.
        seed: a whole number that makes sampling repeatable, alone or in a batch. Repeated prompts get
            different texts. The default is a random seed.
        stop: end the text before this string. Repeat the flag for more strings.
        n_samples: the number of texts to sample for each prompt. The output is JSON lines.
        prompt_file: read the prompt from this file. A dash means standard input, also in place of the prompt.
        prompts_file: read many prompts from a file, one per line, as JSON lines with a "prompt" each, or as a
            JSON array. The file may be gzipped, and a dash means standard input. The output is JSON lines.
        unconditional: start without a prompt.
        score: print the log-probability of each token of the prompt, and the perplexity. Generate nothing.
        logprobs: report the log-probability of each token, and of this many of the most probable ones. The
            output is JSON lines.
        quiet: print no statistics and no progress bar.
        stream: print each token as soon as it is known. False prints the text at the end, with a progress
            bar until then.
        min_p: sample from tokens at least min_p times as probable as the most probable one. 0 disables it.
        repetition_penalty: above 1 makes tokens of the text so far less probable. 1 disables it.
        batch_size: the maximum number of texts per batch. Prompts of similar length share a batch. The
            default is 32, or n_samples if that is more, or fewer if their keys and values need more than 1
            GiB.
        stride: the step of the window that score moves over a text longer than the context, in tokens. The
            default is half of the context.
        special_tokens: read tokens such as <|endoftext|> in a prompt as one token each, not as text. The
            default is True, but False for demo and the sizes of OpenAI.
        offline: never use the network.
        models_dir: the folder of the downloaded models. The default is the folder models beside gpt2.py.
        mirror: the address of a server to download from, with the same file names as OpenAI's or the hub's.
            The default is the environment variable GPT2_MIRROR, if set.
    """
    if temperature is None:
        is_sampling = top_k > 0 or top_p < 1 or min_p > 0 or seed is not None or n_samples > 1
        temperature = 1.0 if is_sampling else 0.0
    sampling = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    sampling["repetition_penalty"] = repetition_penalty
    check_sampling(**sampling)
    if score and (unconditional or stop or prompts_file is not None or n_samples > 1 or logprobs is not None):
        raise ValueError("--score excludes --unconditional, --prompts_file, --n_samples, --logprobs, --stop")
    if stride is not None and not score:
        raise ValueError("--stride needs --score")
    if batch_size == 0:
        raise ValueError("--batch_size must be 1 or more, not 0")
    prompts = read_prompts(prompt, prompt_file, prompts_file, unconditional)

    encoder, hparams, params = load_encoder_hparams_and_params(model_size, models_dir, mirror, offline)
    if special_tokens is not None:
        encoder.allowed_special = frozenset(encoder.added_tokens if special_tokens else ())
    model = {"params": params, "n_head": hparams["n_head"]}
    limits = {"n_tokens_to_generate": n_tokens_to_generate, "stop_id": encoder.stop_ids}

    def answer(texts):
        if score:
            write_scores(encoder, [*encoder.start_ids, *encoder.encode(texts[0])], model, stride, quiet)
        elif prompts_file is not None or n_samples > 1 or logprobs is not None:
            samples = [text for text in texts for _ in range(n_samples)]
            options = {"seed": seed, "batch_size": batch_size, "n_samples": n_samples}
            task = {**model, **limits, **sampling}
            write_json_lines(encoder, samples, task, quiet, **options, stop=stop, logprobs=logprobs)
        else:
            ids = encoder.encode_prompt(texts[0])
            if temperature == 0 and repetition_penalty == 1:
                new_ids = generate_with_lookup(ids, **model, **limits)
            else:
                options = {"seed": text_seed(seed, ids), "sampler": sample, **sampling}
                new_ids = generate(ids, **model, **limits, **options)
            write_text(encoder, new_ids, n_tokens_to_generate, stop, stream, quiet)

    if prompts is None:
        converse(answer, quiet)
    else:
        answer(prompts)
