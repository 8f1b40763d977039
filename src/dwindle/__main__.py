"""``python -m dwindle`` is the command line."""

from dwindle.cli import main

if __name__ == "__main__":
    main()
