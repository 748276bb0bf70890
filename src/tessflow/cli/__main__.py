"""`python -m tessflow.cli`."""

from tessflow.cli.app import main

if __name__ == "__main__":
    main()
