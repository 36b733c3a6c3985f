"""choose.py: its scores equal transformers' log-probabilities, and its accuracy that of the harness."""

import json

import choose
import numpy as np
import pytest
from support.experiment_helpers import run_reference
from support.paths import DATA, EXPERIMENTS

QUESTIONS = EXPERIMENTS / "data" / "questions.jsonl"
EXAMPLES = EXPERIMENTS / "data" / "examples.jsonl"
SOLVED = '{"text": "The cat", "choices": ["sat", "ran"], "answer": 1}'


@pytest.fixture
def reference_scores(encoder, reference):
    """reference_scores(text, choices): the three scores of each choice, by plain loops over transformers."""

    def reference_scores(text, choices):
        scores = []
        for choice in choices:
            text_ids, choice_ids = encoder.encode(text), encoder.encode(" " + choice)
            log_probs = run_reference(reference, text_ids + choice_ids).logits[0].double().log_softmax(dim=-1)
            total = 0.0
            for n, token_id in enumerate(choice_ids):
                total += log_probs[len(text_ids) - 1 + n, token_id].item()
            n_bytes = len(choice.encode("utf-8")) + 1
            scores.append([total, total / len(choice_ids), total / n_bytes])
        return scores

    return reference_scores


@pytest.mark.parametrize("question", choose.read_questions(QUESTIONS), ids=lambda question: question["text"])
def test_scores_equal_transformers_log_probabilities(model, encoder, reference_scores, question):
    choices = [*question["choices"], "the café of Zoë"]  # more bytes than characters
    text = choose.few_shot(choose.read_questions(EXAMPLES)) + question["text"]
    ours = choose.score_choices(text, choices, encoder, **model)
    np.testing.assert_allclose(ours, reference_scores(text, choices), atol=1e-4)


def test_few_shot_examples_contain_their_answers():
    expected = """\
The cat was tired, so it lay down on the mat and slept
At the market, Olga bought a bag of walnuts
"""
    assert choose.few_shot(choose.read_questions(EXAMPLES)) == expected
    assert choose.few_shot([]) == ""


def test_accuracy_of_the_sum_equals_that_of_lm_evaluation_harness(run_experiment):
    """docs/serving.md shows the harness's acc for the same questions: 0.9167."""
    status, stdout, stderr = run_experiment(
        "choose.py", "--model_size=demo", DATA / "lm_eval" / "demo_choice.jsonl"
    )
    assert (status, stderr) == (0, "")
    assert stdout.splitlines()[-1].split()[0] == "91.7%"


@pytest.mark.parametrize("flags", [[], [f"--examples={EXAMPLES}"]])
def test_choose_prints_the_scores_and_marks_the_best(run_experiment, reference_scores, flags):
    status, stdout, stderr = run_experiment("choose.py", "--model_size=demo", *flags, QUESTIONS)
    assert (status, stderr) == (0, "")
    questions = [json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines()]
    *lines, rules, accuracies = stdout.splitlines()
    context = choose.few_shot(choose.read_questions(EXAMPLES)) if flags else ""
    right = np.zeros(3)
    for number, question in enumerate(questions):
        scores = np.array(reference_scores(context + question["text"], question["choices"]))
        best = scores.argmax(axis=0)
        right += best == question["answer"]
        text, *rows = lines[4 * number : 4 * number + 4]
        assert text == question["text"]
        for row, (choice, values) in enumerate(zip(question["choices"], scores, strict=True)):
            *cells, printed_choice = rows[row].split(maxsplit=3)
            assert printed_choice == choice
            assert [float(cell.rstrip("*")) for cell in cells] == pytest.approx(values, abs=2e-4)
            assert [cell.endswith("*") for cell in cells] == list(best == row)
    assert rules.split() == ["sum", "per", "token", "per", "byte"]
    assert accuracies.split() == [*(f"{n / len(questions):.1%}" for n in right), "accuracy"]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"text": "The cat", "choices": ["sat"]}',
        '{"text": "", "choices": ["sat"], "answer": 0}',
        '{"text": "The cat", "choices": "sat", "answer": 0}',
        '{"text": "The cat", "choices": [], "answer": 0}',
        '{"text": "The cat", "choices": ["sat", ""], "answer": 0}',
        '{"text": "The cat", "choices": ["sat"], "answer": 1}',
        '{"text": "The cat", "choices": ["sat"], "answer": -1}',
        '{"text": "The cat", "choices": ["sat"], "answer": true}',
    ],
)
def test_error_names_the_bad_line(tmp_path, line):
    path = tmp_path / "questions"
    path.write_text(f"{SOLVED}\n\n{line}\n{line}")
    with pytest.raises(ValueError) as error_info:
        choose.read_questions(path)
    assert str(error_info.value) == f"{path}, line 3: expected a JSON object with text, choices and answer"


@pytest.mark.parametrize("flag", ["", "--examples="])
def test_file_without_questions_is_a_one_line_error(run_experiment, tmp_path, flag):
    (tmp_path / "empty").write_text("\n\n")
    questions = [QUESTIONS] if flag else []
    result = run_experiment("choose.py", "--model_size=demo", *questions, f"{flag}empty")
    assert result == (2, "", "choose.py: empty has no questions\n")
