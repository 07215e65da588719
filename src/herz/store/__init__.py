"""Revisioned key-value stores: the protocol, the embedded one, and the journal of an application on top."""
