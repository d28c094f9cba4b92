"""Runs the command line: ``python -m nrcscan``."""

from nrcscan.cli.app import main

if __name__ == "__main__":
    main()
