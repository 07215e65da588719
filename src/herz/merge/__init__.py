"""From layers to one snapshot, and from two snapshots to what changed. Pure: no I/O, no clock."""
