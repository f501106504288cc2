"""``python -m bncodemod``."""

from bncodemod.cli import main

if __name__ == "__main__":
    main(prog_name="python -m bncodemod")
