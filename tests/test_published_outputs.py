"""Published outputs of GPT-2 124M. Skipped without models/124M."""

import pytest
from support.documents import outputs_of
from support.paths import ROOT

import gpt2
from loading.model_folder import missing_files
from utils import MODELS_DIR, load_encoder_hparams_and_params

TEXT = (
    " the most powerful machines on the planet.\n\nThe computer is a machine that can perform complex "
    "calculations, and it can perform these calculations in a way that is very similar to the human brain.\n"
)


@pytest.fixture(scope="module")
def gpt2_124M():
    if missing_files(MODELS_DIR / "124M"):
        pytest.skip("models/124M does not exist: python gpt2.py --model_size=124M downloads it")
    return load_encoder_hparams_and_params("124M")


def test_published_text_of_124M(gpt2_124M):
    encoder, hparams, params = gpt2_124M
    ids = encoder.encode("Alan Turing theorized that computers would one day become")
    text = encoder.decode(list(gpt2.generate(ids, params, hparams["n_head"], 40)))
    assert text == TEXT


def test_the_readme_shows_the_published_text():
    _, output = outputs_of(ROOT / "README.md", "sh")[0]
    assert output == TEXT


@pytest.mark.parametrize(
    ("prompt", "continuation"),
    [
        ("Hello, my dog is a little", " bit of a mess. I'm not sure if he's going"),
        ("Today, I", "'m going to be doing a lot of research on this. I"),
    ],
)
def test_published_continuations_of_124M(gpt2_124M, prompt, continuation):
    encoder, hparams, params = gpt2_124M
    n_tokens = len(encoder.encode(continuation))
    ids = gpt2.generate(encoder.encode(prompt), params, hparams["n_head"], n_tokens)
    assert encoder.decode(list(ids)) == continuation


# " was found in a field near the intersection of West and West Streets"
CONTINUATION = [373, 1043, 287, 257, 2214, 1474, 262, 16246, 286, 2688, 290, 2688, 27262]


@pytest.mark.parametrize(
    ("inputs", "continuation"),
    [
        ([464, 3290], [*CONTINUATION, 13, 198, 198, 464, 3290]),
        ([100, 200, 300], ([84, 12, 75] * 6)[:17]),
    ],
)
def test_published_ids_of_124M(gpt2_124M, inputs, continuation):
    _, hparams, params = gpt2_124M
    assert list(gpt2.generate(inputs, params, hparams["n_head"], len(continuation))) == continuation
