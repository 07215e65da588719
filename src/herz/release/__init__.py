"""Releases, pure: what is released, who gets it, what instances say of themselves, and how a rollout decides.

Values and decisions only: no I/O, no clock, no log. The records are JSON as written in stores and sent over the wire;
decoding validates them, for what comes from a network is hostile.
"""
