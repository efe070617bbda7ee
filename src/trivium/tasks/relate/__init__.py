"""Relations between spans of a text: of two that are given, or of all that are found in it."""
