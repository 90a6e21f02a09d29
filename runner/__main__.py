"""`python -m roo` is the `roo` command."""

from roo.cli.main import main

if __name__ == "__main__":
    main()
