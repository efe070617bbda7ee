"""Labelled spans of words that may lie inside each other and overlap."""
