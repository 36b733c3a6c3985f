"""lm-evaluation-harness: serve.py and lm_eval_model.py get the results of the harness's own --model hf."""

import shlex
import subprocess
import sys

import pytest
from helpers.hub_folder import save_model
from support.documents import code_blocks
from support.paths import DATA, ROOT

pytestmark = pytest.mark.filterwarnings("ignore")  # other packages warn
TASKS = ["demo_last_word", "demo_choice"]
N_CTX = 256
STORY = "Once upon a time there was a king who had three sons. They were called Taro, Wei, and Felix. "


@pytest.fixture
def lm_eval(monkeypatch, hub_home):
    """The harness. The paths in the tasks are relative to the project's root."""
    reason = "needs lm-evaluation-harness: pip install 'lm-eval[api,hf]'"
    harness = pytest.importorskip("lm_eval", reason=reason)
    datasets = pytest.importorskip("datasets", reason=reason)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", hub_home / "datasets")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(ROOT)
    return harness


@pytest.fixture
def evaluate(lm_eval):
    """evaluate(model): {(task, metric): value}."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=DATA / "lm_eval", include_defaults=False)

    def evaluate(model):
        results = lm_eval.simple_evaluate(model, tasks=TASKS, bootstrap_iters=0, task_manager=manager)
        values = {}
        for task, metrics in results["results"].items():
            for name, value in metrics.items():
                metric, _, _ = name.partition(",")
                if metric in ("acc", "acc_norm", "perplexity"):
                    values[task, metric] = value
        return values

    return evaluate


@pytest.fixture
def folder(demo, tmp_path):
    """The demo model in Hugging Face's layout."""
    save_model(tmp_path, *demo)
    return str(tmp_path)


@pytest.fixture
def our_model(lm_eval, demo):
    from lm_eval_model import HarnessModel

    return HarnessModel(*demo)


@pytest.fixture
def reference_model(lm_eval, folder):
    """The harness's own model."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(folder, device="cpu", batch_size=4)


@pytest.fixture
def api_model(lm_eval, api_server):
    """api_model(**arguments): serve.py as the harness's local-completions."""
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    url = f"{api_server.url}/v1/completions"

    def api_model(**arguments):
        return LocalCompletionsAPI(model="demo", base_url=url, max_length=N_CTX, **arguments)

    return api_model


@pytest.fixture
def ask(lm_eval):
    """ask(model, method, *arguments): one result for each tuple of arguments."""
    from lm_eval.api.instance import Instance

    def ask(model, method, *arguments):
        requests = [Instance(method, {}, arguments, n) for n, arguments in enumerate(arguments)]
        return getattr(model, method)(requests)

    return ask


def check_values(values, expected):
    """Accuracies are equal, perplexities almost."""
    assert values.keys() == expected.keys()
    for (task, metric), value in values.items():
        if metric == "perplexity":
            assert value == pytest.approx(expected[task, metric], abs=1e-3)
        else:
            assert value == expected[task, metric]


@pytest.fixture
def expected(evaluate, reference_model):
    """The values of --model hf. The model gives some right answers and some wrong ones."""
    values = evaluate(reference_model)
    assert len(values) == 4
    assert all(0 < value < 1 for (_, metric), value in values.items() if metric != "perplexity")
    return values


def test_lm_eval_model_gets_the_results_of_hf(evaluate, our_model, expected):
    check_values(evaluate(our_model), expected)


def test_local_completions_gets_the_results_of_hf(evaluate, api_model, folder, expected):
    """With the tokenizer in a folder, and with that of the server."""
    check_values(evaluate(api_model(tokenizer=folder)), expected)
    remote = api_model(num_concurrent=4)
    assert remote.tokenizer_backend == "remote"
    check_values(evaluate(remote), expected)


def test_whole_texts_have_the_log_probabilities_of_hf(
    ask, our_model, reference_model, api_model, folder, encoder
):
    """local-completions has a shorter window, so it gets the short texts only."""
    short, long = (STORY,), (STORY * 30,)
    assert len(encoder.encode(*long)) > 2 * N_CTX > len(encoder.encode(*short))
    method = "loglikelihood_rolling"
    expected = ask(reference_model, method, short, long, ("",))
    assert ask(our_model, method, short, long, ("",)) == pytest.approx(expected, rel=1e-5)
    for arguments in ({"tokenizer": folder}, {"custom_prefix_token_id": encoder.end_of_text}):
        assert ask(api_model(**arguments), method, short) == pytest.approx(expected[:1], rel=1e-5)


def test_long_and_empty_contexts_are_scored_as_by_hf(ask, our_model, reference_model):
    pairs = [(STORY * 30, " Once upon a time"), ("", "Once upon a time"), ("The king ", "had three sons")]
    expected = ask(reference_model, "loglikelihood", *pairs)
    results = ask(our_model, "loglikelihood", *pairs)
    assert [is_greedy for _, is_greedy in results] == [is_greedy for _, is_greedy in expected]
    assert [value for value, _ in results] == pytest.approx([value for value, _ in expected], rel=1e-4)


def test_continuations_are_those_of_hf(ask, our_model, reference_model, api_model, folder):
    """The last text exceeds the context. That of local-completions is a token shorter."""
    until = {"until": [".", "!"], "max_gen_toks": 30}
    requests = [("Once upon a time", until), ("Mia", until)]
    requests += [("The king", {"max_gen_toks": 12, "do_sample": False}), ("It was", {"max_gen_toks": 60})]
    expected = ask(reference_model, "generate_until", *requests, (STORY * 30, until))
    assert "." not in "".join(expected[:2]) and "." in expected[3]
    assert ask(our_model, "generate_until", *requests, (STORY * 30, until)) == expected
    for arguments in ({"tokenizer": folder}, {}):
        assert ask(api_model(**arguments), "generate_until", *requests) == expected[:-1]


def test_repeated_requests_are_sampled_independently(ask, our_model):
    settings = {"max_gen_toks": 20, "do_sample": True, "temperature": 1.0}
    texts = ask(our_model, "generate_until", *[("Once upon a time", settings)] * 4)
    assert len(set(texts)) == 4
    assert ask(our_model, "generate_until", *[("Once upon a time", settings)] * 4) == texts


def test_unsupported_requests_are_rejected(ask, our_model):
    with pytest.raises(ValueError, match="less than the context of 256, not 256"):
        ask(our_model, "generate_until", ("A king", {}))
    with pytest.raises(ValueError, match="1 to 256 tokens"):
        ask(our_model, "loglikelihood", ("A king", STORY * 30))
    with pytest.raises(TypeError, match="num_beams"):
        ask(our_model, "generate_until", ("A king", {"max_gen_toks": 5, "num_beams": 2}))


def test_script_prints_the_results(lm_eval, expected):
    """With the command and the output in docs/serving.md. A bootstrapped error may differ."""
    blocks = [block for _, block in code_blocks(ROOT / "docs" / "serving.md") if "lm_eval_model.py" in block]
    command, shown = blocks[-1].removeprefix("$ ").split("\n", 1)
    _, *arguments = shlex.split(command)
    done = subprocess.run([sys.executable, *arguments], capture_output=True, encoding="utf-8", timeout=300)
    assert done.returncode == 0, done.stderr
    values = {}
    for printed in (shown, done.stdout):
        rows = [[cell.strip() for cell in line.split("|")] for line in printed.splitlines() if "±" in line]
        values[printed] = [float(row[7]) for row in rows]
    assert sorted(values[shown]) == pytest.approx(sorted(expected.values()), abs=2e-3)
    assert sorted(values[done.stdout]) == pytest.approx(sorted(expected.values()), abs=1e-3)


def test_unknown_task_is_rejected(run_experiment, lm_eval):
    status, stdout, stderr = run_experiment("lm_eval_model.py", "--model_size=demo", "nope,demo_choice")
    assert (status, stdout) == (2, "")
    assert stderr.startswith("lm_eval_model.py: unknown tasks: demo_choice, nope; ")
