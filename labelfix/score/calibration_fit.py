"""Coefficients of `ErrorProbability`, written by `benchmarks/power.py --fit`."""

COEFFICIENTS = {
    "intercept": -3.178,
    "odds": 2.422,
    "contradicted": -0.518,
    "sure": 0.325,
    "odds_sure": 0.385,
    "least_sure": -5.674,
}

FITTED_ON = ("CIFAR-10N", "CIFAR-10", "MNIST", "digits")
"""Sets with known errors, which count alike."""
