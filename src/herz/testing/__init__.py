"""For those who write sources and stores: the contract suites that Herz's own pass."""
