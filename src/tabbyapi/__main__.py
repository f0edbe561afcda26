"""`python -m tabbyapi` is the `tabbyapi` command."""

from .cli import main

if __name__ == "__main__":
    main(prog_name="tabbyapi")
