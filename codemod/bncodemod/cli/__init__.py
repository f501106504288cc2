"""The command line: parse, call, print. What is heavy is imported when needed: start-up counts."""

from bncodemod.cli.rewrite import main

__all__ = ["main"]
