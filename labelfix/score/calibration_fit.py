"""Coefficients of `ErrorProbability`, written by `benchmarks/power.py --fit`."""

COEFFICIENTS = {
    "intercept": -2.729,
    "odds": 2.378,
    "contradicted": -0.459,
    "sure": 0.388,
    "odds_sure": 0.379,
    "least_sure": -5.674,
}

FITTED_ON = ("CIFAR-10N", "CIFAR-10", "MNIST", "digits")
"""Sets with known errors, which count alike."""
