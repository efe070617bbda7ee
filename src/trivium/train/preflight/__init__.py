"""A run looked at before step 0: its settings, text, labels, memory, time and disk, on a throw-away copy."""
