"""Herz itself: the only place where the stages are wired together."""
