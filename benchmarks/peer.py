"""The base class of the engines."""

import os
import time

import numpy as np

N_THREADS = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count()))


class Peer:
    """An engine with the model loaded.

    A subclass implements `begin` and `forward`, or `run`.
    """

    packages = ()  # names on PyPI
    precisions = ("float32",)
    measures = ("text", "batch", "start")
    is_model = True  # the logits must agree with ours
    tolerance = 1e-3  # largest difference of a logit from ours, in float32
    n_tokens = 16  # to decode in a measurement

    def begin(self, prompts, n_tokens):
        """Start new texts; this takes no part in the measured time."""

    def forward(self, ids):
        """ids [n_batch, n_seq] -> logits after the last id of each text, [n_batch, n_vocab]."""
        raise NotImplementedError

    def run(self, prompts, n_tokens, keep_logits=False):
        """Decode 1 + n_tokens tokens for each prompt. The prompts have equal lengths.

        Returns the ids [n_batch, 1 + n_tokens]; the time of the start and of each step; and the logits of the
        first prompt, [1 + n_tokens, n_vocab].
        """
        self.begin(prompts, n_tokens)
        new_ids, steps, kept = prompts, [], []
        times = [time.perf_counter()]
        for _ in range(1 + n_tokens):
            logits = self.forward(new_ids)
            new_ids = np.argmax(logits, axis=-1)[:, None]  # [n_batch, n_vocab] -> [n_batch, 1]
            times.append(time.perf_counter())
            steps.append(new_ids)
            if keep_logits:
                kept.append(np.array(logits[0]))
        return np.concatenate(steps, axis=-1).tolist(), times, kept
