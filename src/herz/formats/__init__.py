"""Formats: bytes to a tree with positions. `decode.py` is the door; each format's decoder is imported on first use."""
