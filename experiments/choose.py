"""Multiple choice: the most probable continuation of a text is the answer.

    python experiments/choose.py experiments/data/questions.jsonl
    python experiments/choose.py --examples=experiments/data/examples.jsonl experiments/data/questions.jsonl

Each line of a file is {"text": ..., "choices": [...], "answer": the number of the right choice, from 0}. The
score of a choice is its log-probability after the text: the sum over its tokens, or that sum per token or per
byte. The sum favors short choices. Few-shot examples, with their answers, come before each question.

Radford, Wu et al., 2019, choose the most probable answer in the Children's Book Test (section 3.2), and give
examples for question answering (section 3.8). Brown et al. score per token: arXiv:2005.14165, section 2.4.
"""

import numpy as np
from helpers.progress_bar import progress_bar

from cli.exit_status import run
from cli.prompts import parse_json, read_text
from generation.scoring import score
from utils import load_encoder_hparams_and_params

RULES = ("sum", "per token", "per byte")


def read_questions(path):
    """Read the questions of a file: [{"text", "choices", "answer"}]. Raises ValueError if one is invalid."""
    lines = {number: line for number, line in enumerate(read_text(path).split("\n"), 1) if line.strip()}
    questions = [parse_json(line, dict) for line in lines.values()]
    for number, question in zip(lines, questions, strict=True):
        if not is_question(question):
            raise ValueError(f"{path}, line {number}: expected a JSON object with text, choices and answer")
    if not questions:
        raise ValueError(f"{path} has no questions")
    return questions


def is_question(question):
    """Does a question have a text, texts as choices, and the number of a choice as its answer?"""
    if question is None or not {"text", "choices", "answer"} <= question.keys():
        return False
    text, choices, answer = question["text"], question["choices"], question["answer"]
    if not isinstance(choices, list) or not all(isinstance(part, str) and part for part in [text, *choices]):
        return False
    return type(answer) is int and 0 <= answer < len(choices)


def few_shot(examples):
    """Join solved questions, one per line."""
    return "".join(f"{example['text']} {example['choices'][example['answer']]}\n" for example in examples)


def score_choices(text, choices, encoder, params, n_head):
    """Score each choice after the text by the three rules. -> [n_choices, 3], in nats."""
    text_ids = encoder.encode(text)
    scores = []
    for choice in choices:
        choice_ids = encoder.encode(f" {choice}")
        log_probs = score([*text_ids, *choice_ids], params, n_head)[-len(choice_ids) :]
        total = log_probs.sum()  # the log-probability of the whole choice
        scores.append([total, total / len(choice_ids), total / len(f" {choice}".encode())])
    return np.array(scores)


def print_choices(question, scores, best):
    """Print the choices of a question with their scores [n_choices, 3]. best [3] are those with a star."""
    print(question["text"])
    for number, choice in enumerate(question["choices"]):
        stars = np.where(best == number, "*", " ")
        cells = [f"{value:11.4f}{star}" for value, star in zip(scores[number], stars, strict=True)]
        print("".join(cells), choice)


def main(path: str, examples: str = None, model_size: str = None):
    """Print the scores of all choices, and the accuracy of each rule. A star marks the highest score.

    Args:
        path: the questions, JSON lines.
        examples: a file of solved questions, which come before each question.
        model_size: the model, as for gpt2.py.
    """
    questions = read_questions(path)
    context = few_shot(read_questions(examples)) if examples else ""
    encoder, hparams, params = load_encoder_hparams_and_params(model_size)
    model = {"encoder": encoder, "params": params, "n_head": hparams["n_head"]}
    right = []
    for question in progress_bar(questions, len(questions), "question"):
        scores = score_choices(context + question["text"], question["choices"], **model)  # [n_choices, 3]
        best = scores.argmax(axis=0)  # [n_choices, 3] -> [3]
        right.append(best == question["answer"])
        print_choices(question, scores, best)
    print("".join(f"{rule:>12s}" for rule in RULES))
    print("".join(f"{accuracy:12.1%}" for accuracy in np.mean(right, axis=0)), " accuracy")


if __name__ == "__main__":
    run(main)
