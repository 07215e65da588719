"""Staying current: one watch session for each source, its states, and how long it waits before it tries again."""
