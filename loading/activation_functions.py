"""The activation functions that models on the Hugging Face hub use, by their names in transformers.

GPT-2 has the tanh form of GELU, `gpt2.gelu`. Cerebras-GPT and newer nanoGPTs have the exact form.
"""

import numpy as np

TANH_GELU = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_accurate", "gelu_python_tanh")
EXACT_GELU = ("gelu", "gelu_python")

# erf(x / sqrt(2)) = tanh(x * p(x**2)), with these coefficients of p, from x**12 down to x**0. They make the
# largest error of x / 2 * (1 + erf) small, 7e-8: tests/support/fit_exact_gelu.py.
COEFFICIENTS = (1.80562698e-9, -1.33446885e-7, 3.96911721e-6, -5.52402155e-5, -3.31298028e-5, 3.63342833e-2)
CONSTANT = 0.797884216
LARGEST_SQUARE = 5.5**2  # beyond, erf is 1 in float32


def exact_gelu(x):
    """Gaussian Error Linear Unit, exact form: x * P(N(0, 1) < x). [...] -> [...]. arXiv:1606.08415

    The error is below 6e-7 in float32. NumPy has no erf, and math.erf takes one number at a time.
    """
    square = np.minimum(x * x, LARGEST_SQUARE)
    y = np.zeros_like(x)
    for coefficient in COEFFICIENTS:  # Horner's method, in place
        y += coefficient
        y *= square
    y += CONSTANT
    y *= x
    y = np.tanh(y, out=y)
    y += 1
    y *= x
    y *= 0.5
    return y


def activation_argument(name):
    """The argument of `gpt2.ffn` for an activation function: {"act": function}, or {} for GPT-2's own."""
    return {"act": exact_gelu} if name in EXACT_GELU else {}
