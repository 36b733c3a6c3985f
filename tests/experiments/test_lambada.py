"""lambada.py and paper_table.py: their numbers equal plain loops over transformers' logits."""

import json
import math
import re

import lambada
import pytest
from support.reference_scores import reference_lambada, reference_surprise

from utils import MODEL_SIZES

TEXTS = [
    "The king had three daughters, and the youngest was so beautiful that the king loved her as no king",
    "Once upon a time there was a poor man who had a great many children, and not enough bread, and the man",
    "Then the wolf said to the old woman that he would eat her, and refrigerators.",
    "And they lived happily ever after, as people do in stories of the sea and of the moon's",
    " ".join(["said the king to the"] * 80) + " king ",
]


@pytest.fixture
def lambada_path(tmp_path):
    """TEXTS in the format of LAMBADA."""
    path = tmp_path / "lambada_test.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return path


def test_lambada_scores_equal_transformers(demo, encoder, reference, lambada_path):
    _, hparams, params = demo
    texts = lambada.read_texts(lambada_path)
    ours = lambada.evaluate(texts, encoder, params, hparams["n_head"])
    expected = reference_lambada(encoder, reference, TEXTS)
    assert 0 < expected["last token"][1] < 1  # some predictions are correct, some are not
    assert ours.keys() == expected.keys()
    for name, scores in expected.items():
        assert ours[name] == pytest.approx(scores, rel=1e-4)


def test_lambada_prints_its_scores(run_experiment, encoder, reference, lambada_path):
    status, stdout, stderr = run_experiment("lambada.py", "--model_size=demo", lambada_path)
    assert (status, stderr) == (0, "")
    expected = reference_lambada(encoder, reference, TEXTS)
    head, *lines = stdout.splitlines()
    assert head.split() == ["5", "texts", "perplexity", "accuracy"]
    for line, (name, (perplexity, accuracy)) in zip(lines, expected.items(), strict=True):
        assert line.startswith(name)
        assert float(line.split()[-2]) == pytest.approx(perplexity, rel=1e-4, abs=0.006)
        assert line.endswith(f" {accuracy:.2%}")


@pytest.mark.parametrize(
    "line", ["{", "[]", "[" * 9999, '{"text": 1}', '{"text": " king "}', '{"txt": "a king"}']
)
def test_error_names_the_bad_line(run_experiment, tmp_path, line):
    (tmp_path / "bad.jsonl").write_text(json.dumps({"text": TEXTS[0]}) + f"\n\n{line}\n{line}")
    status, stdout, stderr = run_experiment("lambada.py", "--model_size=demo", "bad.jsonl")
    assert (status, stdout) == (2, "")
    assert re.fullmatch(r"lambada\.py: bad\.jsonl, line 3: expected .*\n", stderr)


def test_blank_lines_are_skipped(tmp_path):
    (tmp_path / "texts").write_text('\n{"text": "a b c"}\n \n{"text": "d e "}\n\n', encoding="utf-8")
    assert lambada.read_texts(tmp_path / "texts") == [("a b", " c"), ("d", " e")]


def test_file_without_texts_is_rejected(run_experiment, tmp_path):
    (tmp_path / "empty").write_text("\n\n")
    status, stdout, stderr = run_experiment("lambada.py", "--model_size=demo", "empty")
    assert (status, stdout) == (2, "")
    assert stderr == "lambada.py: empty has no texts\n"


# paper_table.py


def test_paper_table_shows_both_results(run_experiment, encoder, reference, lambada_path, tmp_path):
    rows = [" \n", " = A king = \n", " \n", " The king was @-@ old . \n", " \n"]
    (tmp_path / "wiki.test.raw").write_text("".join(rows), encoding="utf-8", newline="\n")
    status, stdout, stderr = run_experiment("paper_table.py", "--model_size=demo", tmp_path)
    assert (status, stderr) == (0, "")
    head, *lines = stdout.splitlines()
    assert head.split() == ["here", *MODEL_SIZES]
    table = {line[:24].strip(): [float(number) for number in line[24:].split()] for line in lines}
    assert {name: row[1:] for name, row in table.items()} == {
        "LAMBADA, perplexity": [35.13, 15.6, 10.87, 8.63],
        "LAMBADA, accuracy in %": [45.99, 55.48, 60.12, 63.24],
        "WikiText-2, perplexity": [29.41, 22.76, 19.93, 18.34],
    }
    joined = "\n\n".join(["", " = A king = \n", "", " The king was @-@ old . \n", ""])
    ids = encoder.encode(joined)
    perplexity = math.exp(reference_surprise(reference, ids, 256, 256) / (len(ids) - 1))
    last_token, accuracy = reference_lambada(encoder, reference, TEXTS)["last token"]
    found = [row[0] for row in table.values()]
    assert found == pytest.approx([last_token, 100 * accuracy, perplexity], rel=1e-4, abs=0.006)


def test_text_of_one_token_is_rejected(run_experiment, tmp_path):
    (tmp_path / "wiki.test.raw").write_text("a")
    result = run_experiment("paper_table.py", "--model_size=demo", tmp_path)
    assert result == (2, "", "paper_table.py: there is no text to score\n")


def test_folder_without_data_is_rejected(run_experiment, tmp_path):
    status, stdout, stderr = run_experiment("paper_table.py", "--model_size=demo", tmp_path)
    assert (status, stdout) == (2, "")
    assert stderr.count("\n") == 1
