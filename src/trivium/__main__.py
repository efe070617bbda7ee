"""`python -m trivium` is the command line."""

from trivium.cli.main import run

if __name__ == "__main__":
    run()
