"""Run the commands and the Python code of the documents, and write their output below them. Write the flags.

    PYTHONPATH=.:tests python tests/data/make_outputs.py

It needs the packages of experiments/requirements.txt. Arguments select some of the documents.
"""

import functools
import re
import subprocess
import sys
from pathlib import Path

from support.documents import ONE_PROGRAM, as_one_program, code_blocks, split_output
from support.flag_table import with_flag_table
from support.paths import EXPERIMENTS, ROOT

DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), EXPERIMENTS / "README.md"]
CODE_AND_OUTPUT = re.compile(
    r"^```(sh|python)\n((?:(?!```).)*?)^```\n\n?```text\n(.*?)^```$", re.DOTALL | re.MULTILINE
)
SESSION = re.compile(r"^```console\n\$ (python gpt2\.py.*?)\n(> .*?)^> \n```$", re.DOTALL | re.MULTILINE)


def output_of(*command):
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, encoding="utf-8").stdout


def run_as_one_program(path):
    """Run the Python snippets of a document in order, in one process -> {snippet: output}."""
    snippets = [code for language, code in code_blocks(path) if language == "python"]
    outputs = split_output(output_of(sys.executable, "-c", as_one_program(snippets)))
    return dict(zip(snippets, outputs, strict=True))


def with_new_output(match, outputs):
    """Replace the output in a match of CODE_AND_OUTPUT. outputs: those of run_as_one_program."""
    language, code, _ = match.groups()
    if code in outputs:
        output = outputs[code]
    elif language == "sh":
        output = output_of("bash", "-c", code.split("&& ")[-1])
    else:
        output = output_of(sys.executable, "-c", code)
    start, end = match.start(3) - match.start(), match.end(3) - match.start()
    return match[0][:start] + output + match[0][end:]


def with_new_answers(match):
    """Replace the answers in a match of SESSION, an interactive session."""
    command, answers = match.groups()
    prompts = re.findall(r"^> (.*)$", answers, re.MULTILINE)
    lines = [f"> {prompt}\n{output_of('bash', '-c', f'{command} {prompt!r}')}" for prompt in prompts]
    return f"```console\n$ {command}\n{''.join(lines)}> \n```"


for path in [Path(name).resolve() for name in sys.argv[1:]] or DOCUMENTS:
    old = path.read_text(encoding="utf-8")
    outputs = run_as_one_program(path) if path in ONE_PROGRAM else {}
    new = CODE_AND_OUTPUT.sub(functools.partial(with_new_output, outputs=outputs), with_flag_table(old))
    new = SESSION.sub(with_new_answers, new)
    path.write_text(new, encoding="utf-8")
    print(f"{path}: {'updated' if new != old else 'unchanged'}")
