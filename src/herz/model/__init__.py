"""Values: keys, trees, origins, documents, layers, snapshots, changes. No I/O, no clock, no logging."""
