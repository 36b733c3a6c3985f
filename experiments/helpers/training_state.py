"""Store the progress of a training in a file, so that the same command resumes it."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np

from helpers.npz_file import read_npz
from helpers.output_files import write_atomically
from loading.untrusted_files import CheckpointError

INTERVAL = 100  # steps between two writes


def fingerprint(settings, texts, encoder):
    """A hash of everything that determines the result of a training. JSON can represent the settings."""
    run = [settings, texts, encoder.encoder, list(encoder.bpe_ranks)]
    return hashlib.sha256(json.dumps(run).encode()).hexdigest()


class TrainingState:
    """The progress of one training, in a file of np.savez.

    Args:
        path: the file, or None to store nothing.
        run: the fingerprint of the training.
        check_interrupt: a function without arguments that raises KeyboardInterrupt after Ctrl-C.
    """

    def __init__(self, path, run, check_interrupt):
        self.path = None if path is None else Path(path).expanduser()
        self.run = run
        self.check_interrupt = check_interrupt

    def load(self, arrays):
        """Return the number of steps done and the arrays after them; without a file, 0 and `arrays`.

        Raises:
            ValueError: the file belongs to another training, or its folder does not exist.
            CheckpointError: the file is damaged.
        """
        if self.path is None or not self.path.exists():
            self.save(0, arrays)  # a path that cannot be written is an error before the training
            return 0, arrays
        stored = read_npz(self.path)
        if str(stored.get("run")) != self.run:
            raise ValueError(f"{self.path} belongs to other flags or another text: choose another --state")
        expected = {"n_done": np.int64(0)} | {f"arr_{n}": array for n, array in enumerate(arrays)}
        for name, array in expected.items():
            if name not in stored or (stored[name].shape, stored[name].dtype) != (array.shape, array.dtype):
                raise CheckpointError(f"{self.path} is damaged: {name} is missing or has another shape")
        return int(stored["n_done"]), [stored[f"arr_{n}"] for n in range(len(arrays))]

    def save(self, n_done, arrays):
        """Write the file, if there is a path."""
        if self.path is not None:
            content = io.BytesIO()
            np.savez(content, *arrays, run=self.run, n_done=np.int64(n_done))
            write_atomically(self.path, content.getvalue())

    def update(self, n_done, arrays):
        """Write the file every INTERVAL steps, and after Ctrl-C, which then raises KeyboardInterrupt."""
        try:
            self.check_interrupt()
        except KeyboardInterrupt:
            self.save(n_done, arrays)
            raise
        if n_done % INTERVAL == 0:
            self.save(n_done, arrays)
