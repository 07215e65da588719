"""Sources: one file per place that holds configuration; each reads it whole and follows it in order."""
