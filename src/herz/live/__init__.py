"""What lives in the process: listeners, bound models, scoped objects, and the copy that outlives it."""
