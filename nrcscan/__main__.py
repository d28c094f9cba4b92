"""Runs the command line: ``python -m nrcscan``."""

from nrcscan.cli.guard import main

if __name__ == "__main__":
    main()
