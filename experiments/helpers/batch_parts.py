"""Parts of a large batch: the rows of files, split into parts, and a result file for each part."""

import json
import os
import sys

from cli.exit_status import as_one_line
from cli.prompts import read_text, split_texts
from helpers.output_files import write_atomically

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    sys.exit('ray_batch.py: needs Ray Data: pip install "ray[data]"')

SUFFIXES = (".parquet", ".jsonl", ".json", ".jsonl.gz", ".json.gz")  # of the files in a folder
CONTINUATION = pa.schema(
    {
        "prompt": pa.string(),
        "text": pa.string(),
        "tokens": pa.list_(pa.int64()),
        "finish_reason": pa.string(),
        "n_tokens": pa.int64(),
    }
)
SCORE = pa.schema(
    {"text": pa.string(), "log_prob": pa.float64(), "n_tokens": pa.int64(), "n_bytes": pa.int64()}
)


def find_files(path):
    """List a folder. Returns the files to read, and the names that the script skips."""
    if not path.is_dir():
        return [path], []
    files, skipped = [], []
    for file in sorted(path.iterdir()):
        is_hidden = file.name.startswith((".", "_"))  # readers of Parquet folders skip both
        if file.is_file() and not is_hidden and file.name.lower().endswith(SUFFIXES):
            files.append(file)
        else:
            skipped.append(file.name)
    return files, skipped


def describe_skipped(names):
    """Returns one line with at most ten of the names: "skipped 12 in the folder: a.csv, b.csv, ..."."""
    shown = [*names[:10], "..."] if len(names) > 10 else names
    return as_one_line(f"skipped {len(names)} in the folder: {', '.join(shown)}")


def read_texts(file, column):
    """Read a column of a Parquet file, or the texts of another file. Raises ValueError if one is missing."""
    if not str(file).lower().endswith(".parquet"):
        return list(split_texts(read_text(file), file, column).values())
    n_texts = 0
    try:
        texts = pq.ParquetFile(file).read(columns=[column])[column].to_pylist()
        for text in texts:
            text.encode("utf-8")
            n_texts += 1
    except (ValueError, LookupError, AttributeError):
        raise ValueError(f'{file}, row {n_texts + 1}: there is no text as "{column}"') from None
    return texts


def split_into_parts(path, column, part_size):
    """Split the rows of a file or a folder into parts.

    Returns:
        a dict per part: the name of its result, the file of its texts, and the first text. Also a line
        about skipped files, or "".

    Raises:
        ValueError: a row has no text, or there are no rows.
    """
    files, skipped = find_files(path)
    places = [(str(file), n) for file in files for n in range(0, len(read_texts(file, column)), part_size)]
    note = describe_skipped(skipped) if skipped else ""
    if not places:
        raise ValueError(f"{path}: there are no rows" + (f"; {note}" if note else ""))
    parts = [
        {"name": f"part-{number:08}.parquet", "file": file, "first": first}
        for number, (file, first) in enumerate(places)
    ]
    return parts, note


def check_settings(out, settings):
    """Store the settings with the results. Raises ValueError if the folder has results of other settings."""
    path = out / "_settings.json"  # readers of Parquet folders skip names with _
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != settings:
        raise ValueError(f"{out} has results of other settings, see {path.name} there: choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(settings, indent=2).encode())


def write_part(path, rows, schema):
    """Write the rows of a part as a Parquet file, atomically."""
    temporary = path.with_name(f".{path.name}")  # readers of Parquet folders skip names with a dot
    pq.write_table(pa.Table.from_pylist(rows, schema), temporary)
    os.replace(temporary, path)
