"""`python -m catalog` is the command `prunedex`."""

from catalog.cli import main

if __name__ == "__main__":
    main()
