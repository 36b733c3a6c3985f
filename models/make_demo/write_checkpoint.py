"""Write the trained model as OpenAI wrote GPT-2: TensorFlow's own Saver, with half-precision weights.

    pip install -r models/make_demo/requirements-tensorflow.txt
    python -m models.make_demo.write_checkpoint

It reads weights.npz, hparams.json, encoder.json and vocab.bpe, and fills the model's folder.
"""

import shutil
from pathlib import Path

import numpy as np
import tensorflow as tf

from cli.exit_status import run
from models.make_demo.make_text import TRAINING

DEMO = Path(__file__).parents[1] / "demo"


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


def main(folder: str = None, output: str = None):
    """Write the model's folder.

    Args:
        folder: has the files of the training. The default is models/demo_training.
        output: the folder to write. The default is models/demo.
    """
    folder, output = Path(folder or TRAINING), Path(output or DEMO)
    with np.load(folder / "weights.npz") as arrays:
        output.mkdir(parents=True, exist_ok=True)
        write_checkpoint(dict(arrays), output / "model.ckpt")
    for name in ("hparams.json", "encoder.json", "vocab.bpe"):
        shutil.copyfile(folder / name, output / name)


if __name__ == "__main__":
    run(main)
