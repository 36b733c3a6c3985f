"""Constants and functions that several tests of experiments use."""

PROMPT = "The cat sat on the mat because it was tired"
PNG = b"\x89PNG\r\n\x1a\n"  # the first bytes of a PNG file


def run_reference(reference, ids, **options):
    """Run a model of transformers on a batch of one text, without gradients. ids [n_seq] -> its output."""
    import torch

    with torch.no_grad():
        return reference(torch.tensor([ids]), **options)


def texts_of(labels):
    """The texts of matplotlib's labels."""
    return [label.get_text() for label in labels]
