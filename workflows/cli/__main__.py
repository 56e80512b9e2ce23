"""``python -m workflows.cli`` is the same as ``spinmultinet``."""

from workflows.cli import main

if __name__ == "__main__":
    main()
