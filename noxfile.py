"""`nox` sets up what it needs and runs every check: lint, the base install, all adapters, the docs."""

import nox

nox.options.default_venv_backend = "venv"
nox.options.sessions = ["lint", "base", "tests"]
nox.options.reuse_existing_virtualenvs = True


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff and strict mypy."""
    session.install("-e", ".[lint,test]", "nox")
    session.run("ruff", "format", "--check")
    session.run("ruff", "check")
    session.run("mypy")


@nox.session
def base(session: nox.Session) -> None:
    """The base install alone: no torch, no cleanlab. What needs an extra must say so, and skip."""
    session.install(".[test]")
    session.run("pytest", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Every adapter, with its real library."""
    session.install(".[all,test]")
    session.run("pytest", *session.posargs)
