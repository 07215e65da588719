"""The `herz` command: one module for each sub-command, each with `add_parser` and `run`."""
