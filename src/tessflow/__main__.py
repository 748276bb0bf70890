"""The command, as `python -m tessflow`."""

from tessflow.cli import main

if __name__ == "__main__":
    main()
