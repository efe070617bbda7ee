"""Texts written from texts: how pairs are read, what is written, and how good that is."""
