"""`nox` sets up what it needs and runs every check: lint, the base install, all adapters."""

import shutil

import nox

nox.options.default_venv_backend = "venv"
nox.options.sessions = ["lint", "base", "tests"]
nox.options.reuse_existing_virtualenvs = True

AT_ONCE = ("-n", "2", "--dist", "loadfile")
"""Two processes, and what the tests of a file share is made once."""
ENV = {"OMP_NUM_THREADS": "1"}  # of each process: more would wait for each other


@nox.session
def lint(session: nox.Session) -> None:
    """Run ruff and strict mypy."""
    session.install("-e", ".[lint,test]", "nox")
    session.run("ruff", "format", "--check")
    session.run("ruff", "check")
    session.run("mypy")


@nox.session
def base(session: nox.Session) -> None:
    """Run the tests on the base install: no torch, no cleanlab."""
    session.install(".[test]")
    session.run("pytest", *AT_ONCE, *session.posargs, env=ENV)


@nox.session
def tests(session: nox.Session) -> None:
    """Run all tests, every adapter with its real library."""
    session.install(".[all,ultralytics,test,test-hooks]")
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        # where it cannot be had, the tests that need a browser skip and say so
        session.run("playwright", "install", "chromium", success_codes=[0, 1])
    session.run("pytest", *AT_ONCE, *session.posargs, env=ENV)
    # importing Ultralytics changes how numbers are printed: it has a process of its own
    apart = "--ignore-glob=*/ultralytics.py"
    keras = {"KERAS_BACKEND": "torch"}
    session.run("pytest", "--doctest-modules", apart, "--pyargs", "labelfix", env=keras)
