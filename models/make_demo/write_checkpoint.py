"""Write the trained model as OpenAI wrote GPT-2: TensorFlow's own Saver, with half-precision weights.

    pip install -r models/make_demo/requirements-tensorflow.txt
    python -m models.make_demo.write_checkpoint

It reads weights.npz, encoder.json and vocab.bpe, and fills the model's folder.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import tensorflow as tf

from models.make_demo.make_text import TRAINING

DEMO = Path(__file__).parents[1] / "demo"
HPARAMS = {"n_vocab": 4096, "n_ctx": 256, "n_embd": 256, "n_head": 4, "n_layer": 6}


def write_checkpoint(arrays, prefix):
    """Write {variable name: array} to PREFIX.index and PREFIX.data-00000-of-00001, in half precision."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variables = [
            tf.compat.v1.get_variable(name, initializer=array.astype(np.float16))
            for name, array in arrays.items()
        ]
        session.run(tf.compat.v1.global_variables_initializer())
        saver = tf.compat.v1.train.Saver(variables)
        saver.save(session, str(prefix), write_meta_graph=False, write_state=False)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=TRAINING, help="has weights.npz and the tokenizer")
    parser.add_argument("--output", type=Path, default=DEMO, help="the model's folder")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    with np.load(args.folder / "weights.npz") as arrays:
        write_checkpoint(dict(arrays), args.output / "model.ckpt")
    for name in ("encoder.json", "vocab.bpe"):
        shutil.copyfile(args.folder / name, args.output / name)
    (args.output / "hparams.json").write_text(json.dumps(HPARAMS), encoding="utf-8")


if __name__ == "__main__":
    main()
