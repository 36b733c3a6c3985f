"""Write results atomically: an interrupted script never leaves half a file."""

import io
import os
from pathlib import Path


def write_atomically(path, content):
    """Write bytes to a temporary file, then rename it. Raises ValueError if the folder does not exist."""
    path = Path(path).expanduser()
    if not path.parent.is_dir():
        raise ValueError(f"cannot write {path.name}: there is no folder {path.parent}")
    temporary = path.with_name(f"{path.name}.part")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_picture(path, figure):
    """Write a matplotlib Figure as a PNG and print its path. Raises ValueError if the name lacks .png."""
    if not str(path).endswith(".png"):
        raise ValueError(f"the name of the picture must end in .png, not {path}")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100, bbox_inches="tight")
    write_atomically(path, content.getvalue())
    print(path)
