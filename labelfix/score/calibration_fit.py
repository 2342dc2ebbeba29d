"""Coefficients of `ErrorProbability`, written by `benchmarks/power.py --fit`."""

COEFFICIENTS = {
    "intercept": -0.75,
    "odds": 2.174,
    "contradicted": -0.486,
    "sure": 0.748,
    "odds_sure": 0.352,
    "least_sure": -5.674,
}

FITTED_ON = ("CIFAR-10N", "CIFAR-10", "MNIST", "digits")
"""Sets with known errors, which count alike."""
