"""Bytes, text, positions and splicing."""
