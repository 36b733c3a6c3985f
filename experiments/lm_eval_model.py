"""Evaluate a model with lm-evaluation-harness, in this process.

    python experiments/lm_eval_model.py arc_easy,lambada_openai

It needs `pip install lm-eval`. The harness downloads the texts of its own tasks.
"""

import sys
from contextlib import redirect_stdout
from itertools import groupby

from helpers.progress_bar import progress_bar
from lm_eval.api.model import TemplateLM
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.tasks import TaskManager
from lm_eval.utils import make_table

from cli.exit_status import run
from generation.completions import complete
from generation.scoring import log_probs_of, score
from gpt2 import gpt2
from utils import load_encoder_hparams_and_params


class HarnessModel(TemplateLM):
    """A model as the harness calls it. A method returns one result per request."""

    def __init__(self, encoder, hparams, params):
        super().__init__()
        self.encoder, self.params = encoder, params
        self.n_head, self.n_ctx = hparams["n_head"], hparams["n_ctx"]

    @property
    def eot_token_id(self):
        return self.encoder.encode_prompt("")[0]  # precedes a text that has no context

    def tok_encode(self, string, add_special_tokens=None, **kwargs):
        return self.encoder.encode(string)

    def _loglikelihood_tokens(self, requests, **kwargs):
        """TemplateLM.loglikelihood calls this with [(texts, ids of a context, ids of its continuation)]."""
        return [self.score_pair(*pair) for _, *pair in progress_bar(requests, len(requests), "text")]

    def score_pair(self, context, continuation):
        """Returns the log-probability of a continuation, and whether greedy decoding gives it."""
        if not 1 <= len(continuation) <= self.n_ctx:
            raise ValueError(f"a continuation must have 1 to {self.n_ctx} tokens, not {len(continuation)}")
        ids = [*context, *continuation][-self.n_ctx - 1 :]  # the end of a long text
        logits = gpt2(ids[:-1], **self.params, n_head=self.n_head, n_logits=len(continuation))
        is_greedy = logits.argmax(axis=-1) == continuation  # [n_continuation, n_vocab] -> [n_continuation]
        return float(log_probs_of(continuation, logits).sum()), bool(is_greedy.all())

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        """The log-probabilities of whole texts, in windows of n_ctx tokens."""
        results = []
        for request in progress_bar(requests, len(requests), "text"):
            ids = [self.prefix_token_id, *self.encoder.encode(request.args[0])]
            results.append(float(score(ids, self.params, self.n_head, stride=self.n_ctx).sum()))
        return results

    def generate_until(self, requests, disable_tqdm=False):
        """The continuations of texts. Neighboring requests with the same settings share batches."""
        results = []
        for settings, group in groupby(requests, key=lambda request: request.args[1]):
            results += self.continue_texts([request.args[0] for request in group], settings)
        return results

    def continue_texts(self, texts, settings):
        """settings: those of a task, such as {"until": ["."], "max_gen_toks": 20}."""
        task = {"params": self.params, "n_head": self.n_head, **normalize_gen_kwargs(settings)}
        stop, n_new, _ = (task.pop(name) for name in ("until", "max_gen_toks", "do_sample"))
        if n_new >= self.n_ctx:
            raise ValueError(f"max_gen_toks must be less than the context of {self.n_ctx}, not {n_new}")
        ends = [self.encoder.decode(self.encoder.encode(text)[n_new - self.n_ctx :]) for text in texts]
        task |= {"stop_id": self.encoder.stop_ids, "n_tokens_to_generate": n_new}
        return [result["text"] for result in complete(self.encoder, ends, task, seed=0, stop=stop)]


def main(tasks: str, include_path: str = None, limit: int = None, model_size: str = None):
    """Print the results of a model on tasks of lm-evaluation-harness.

    Args:
        tasks: the names of tasks, with a comma between two names.
        include_path: a folder with more tasks, as YAML files.
        limit: use only the first `limit` texts of each task.
        model_size: the model, as for gpt2.py.
    """
    manager = TaskManager(include_path=include_path)
    names = tasks.split(",")
    if unknown := sorted(set(names) - set(manager.all_tasks)):
        raise ValueError(f"unknown tasks: {', '.join(unknown)}; `lm_eval ls tasks` lists the harness's own")
    model = HarnessModel(*load_encoder_hparams_and_params(model_size))
    with redirect_stdout(sys.stderr):  # the harness prints its progress
        results = simple_evaluate(model, tasks=names, limit=limit, task_manager=manager, bootstrap_iters=1000)
    print(make_table(results))


if __name__ == "__main__":
    run(main)
