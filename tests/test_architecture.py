"""The rules of docs/architecture.md: which module imports which, what each folder holds, and names."""

import ast
import builtins
import functools
import inspect
import os
import re
import shutil
import subprocess
import sys

import numpy as np
from support.paths import ROOT

import gpt2

MODULES = {"gpt2", "gpt2_pico", "encoder", "utils"}
FOLDERS = {"cli", "generation", "loading", "download"}
SCRIPT_FOLDERS = {"experiments", "benchmarks", "models", "tests"}

# The imports of our own modules: at the top of a file, inside functions, and below the main guard.
AT_TOP = {
    "gpt2": set(),
    "gpt2_pico": set(),
    "encoder": set(),
    "utils": {"loading"},
    "generation": {"generation", "gpt2"},
    "loading": {"loading", "encoder"},
    "download": {"download", "loading"},
    "cli": {"cli", "generation", "gpt2", "gpt2_pico", "utils", "loading.untrusted_files"},
    "experiments": {"experiments"} | MODULES | FOLDERS,
    "benchmarks": {"benchmarks", "tests.support"} | MODULES | FOLDERS,
    "models": {"models", "tests.support"} | MODULES | FOLDERS,
}
ALSO = {
    "top": {},
    "function": {"encoder": {"loading"}, "utils": {"download"}},
    "main": {"gpt2": {"cli"}, "gpt2_pico": {"cli"}, "utils": {"cli"}},
}


def python_files(*folders):
    files = [path for folder in folders for path in ROOT.joinpath(folder).rglob("*.py")]
    return sorted([*ROOT.glob("*.py"), *files])


ALL_FILES = python_files(*FOLDERS, *SCRIPT_FOLDERS)


@functools.cache
def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


# Scripts run with their own folder on the path: `import microgpt` in experiments/ is experiments.microgpt.
FULL_NAMES = {
    name.removeprefix(f"{folder}."): name
    for folder in SCRIPT_FOLDERS
    for name in map(module_name, ROOT.joinpath(folder).rglob("*.py"))
} | {"helpers": "experiments.helpers", "support": "tests.support"}


def imports_of(path):
    """Yield (full name of the imported module, "top", "function" or "main") for each import in a file."""

    def walk(node, place):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((alias.name, place) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}: relative import"
                yield child.module, place
            elif isinstance(child, (ast.FunctionDef, ast.Lambda)):
                yield from walk(child, "function")
            elif isinstance(child, ast.If) and ast.unparse(child.test) == "__name__ == '__main__'":
                yield from walk(child, "main")
            else:
                yield from walk(child, place)

    for name, place in walk(parse(path), "top"):
        yield FULL_NAMES.get(name, name), place


def is_ours(name):
    return name.split(".")[0] in MODULES | FOLDERS | SCRIPT_FOLDERS


def test_imports_point_one_way():
    violations = []
    for path in python_files(*FOLDERS, "experiments", "benchmarks", "models"):
        importer = module_name(path).split(".")[0]
        for name, place in imports_of(path):
            allowed = AT_TOP[importer] | ALSO[place].get(importer, set())
            if is_ours(name) and not any(f"{name}.".startswith(f"{prefix}.") for prefix in allowed):
                violations.append(f"{module_name(path)} imports {name}")
    assert violations == []


def test_tests_import_no_other_test():
    violations = [
        f"{module_name(path)} imports {name}"
        for path in python_files("tests")
        for name, _ in imports_of(path)
        if name.startswith("tests.") and not name.startswith("tests.support")
    ]
    assert violations == []


def test_gpt2_imports_numpy_alone():
    names = {name for name, place in imports_of(ROOT / "gpt2.py") if place != "main"}
    assert names - sys.stdlib_module_names == {"numpy"}


def test_the_program_imports_four_packages():
    names = {name for path in python_files(*FOLDERS) for name, _ in imports_of(path) if not is_ours(name)}
    packages = {name.split(".")[0] for name in names} - sys.stdlib_module_names
    required = re.findall(r"^\w+", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert packages == set(required) == {"numpy", "regex", "requests", "tqdm"}


def test_the_root_holds_four_modules():
    assert set(map(module_name, ROOT.glob("*.py"))) == MODULES


def test_no_two_modules_have_the_same_name():
    names = [path.stem for path in python_files(*FOLDERS) if path.stem != "__init__"]
    assert sorted(set(names)) == sorted(names)


def run_random_model(gpt2, np):
    """The logits of a seeded random model, and the ids that it generates, greedily and by sampling."""
    rng = np.random.default_rng(0)
    n_vocab, n_ctx, n_embd, n_head = 50, 32, 8, 2

    def normal(*shape):
        return rng.standard_normal(shape, dtype=np.float32)

    def norm():
        return {"g": normal(n_embd), "b": normal(n_embd)}

    def linear(n_in, n_out):
        return {"w": normal(n_in, n_out), "b": normal(n_out)}

    def block():
        attn = {"c_attn": linear(n_embd, 3 * n_embd), "c_proj": linear(n_embd, n_embd)}
        mlp = {"c_fc": linear(n_embd, 4 * n_embd), "c_proj": linear(4 * n_embd, n_embd)}
        return {"ln_1": norm(), "attn": attn, "ln_2": norm(), "mlp": mlp}

    embeddings = {"wte": normal(n_vocab, n_embd), "wpe": normal(n_ctx, n_embd)}
    params = {**embeddings, "blocks": [block(), block()], "ln_f": norm()}
    logits = gpt2.gpt2([3, 1, 4], **params, n_head=n_head)  # [3, n_vocab]
    greedy = list(gpt2.generate([3, 1, 4], params, n_head, 20))
    sampled = list(gpt2.generate([3, 1, 4], params, n_head, 20, temperature=1.0, top_k=40, top_p=0.9, seed=0))
    return logits.tolist(), greedy, sampled


def test_gpt2_runs_alone(tmp_path):
    """gpt2.py needs no other file of the project."""
    shutil.copy(ROOT / "gpt2.py", tmp_path)
    code = (
        "import gpt2, numpy\n" + inspect.getsource(run_random_model) + "print(run_random_model(gpt2, numpy))"
    )
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    command = [sys.executable, "-W", "error", "-c", code]
    printed = subprocess.run(
        command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    logits, greedy, sampled = ast.literal_eval(printed)
    expected_logits, expected_greedy, expected_sampled = run_random_model(gpt2, np)
    np.testing.assert_allclose(logits, expected_logits, atol=1e-5)
    assert (greedy, sampled) == (expected_greedy, expected_sampled)
    assert len(greedy) == len(sampled) == 20


def test_every_file_has_at_most_300_lines():
    n_lines = {module_name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in ALL_FILES}
    assert {name: n for name, n in n_lines.items() if n > 300} == {}


def bound_names(tree):
    """Yield (name, line) for each name that a file binds: variables, parameters, functions, imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.ExceptHandler)):
            yield node.name, node.lineno
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from ((alias.asname or alias.name, node.lineno) for alias in node.names)


def test_no_name_shadows_a_builtin():
    names = {name for name in dir(builtins) if not name.startswith("_")}
    bound = [(module_name(path), line, name) for path in ALL_FILES for name, line in bound_names(parse(path))]
    assert [place for place in bound if place[-1] in names] == []


def test_two_lines_extend_the_module_search_path():
    """For the tests, pyproject.toml extends it."""
    users = [
        module_name(path)
        for path in ALL_FILES
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.path"
    ]
    assert users == ["benchmarks.random_model", "experiments.helpers.__init__"]
