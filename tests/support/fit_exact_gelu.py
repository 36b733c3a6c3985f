"""Compute the coefficients in loading/activation_functions.py.

    PYTHONPATH=.:tests python -m support.fit_exact_gelu

They are a least-squares fit of artanh(erf(x / sqrt(2))) / x, which repeats with larger weights where the
error is large. So the largest error becomes small (Lawson, 1961).
"""

import math

import numpy as np

N_COEFFICIENTS = 7
LARGEST_X = 5.5


def fit(n_points=20001, n_rounds=200):
    """Fit p -> (coefficients from x**12 down to x**0, largest error of GELU)."""
    x = np.linspace(1e-3, LARGEST_X, n_points)
    erf = np.array([math.erf(number / 2**0.5) for number in x])
    erfc = np.array([math.erfc(number / 2**0.5) for number in x])  # 1 - erf, without cancellation
    target = 0.5 * np.log((1 + erf) / erfc) / x
    powers = np.stack([x ** (2 * n) for n in range(N_COEFFICIENTS)], axis=1)
    slope = 0.5 * x * x * (1 + erf) * erfc + 1e-12  # how much an error of p changes GELU
    weights = np.ones_like(x)
    for _ in range(n_rounds):
        rows = slope * weights
        coefficients = np.linalg.lstsq(powers * rows[:, None], target * rows, rcond=None)[0]
        error = np.abs(powers @ coefficients - target) * slope
        weights *= (error / error.max() + 1e-3) ** 0.25
        weights /= weights.max()
    return coefficients[::-1], error.max()


if __name__ == "__main__":
    print(*fit())
