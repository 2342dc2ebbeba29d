"""Coefficients of `ErrorProbability`, written by `benchmarks/power.py --fit`."""

COEFFICIENTS = {
    "intercept": -2.974,
    "odds": 2.538,
    "contradicted": -0.507,
    "sure": 0.477,
    "odds_sure": 0.407,
    "least_sure": -5.024,
}

FITTED_ON = ("CIFAR-10N", "CIFAR-10", "MNIST", "digits")
"""Sets with known errors, which count alike."""
