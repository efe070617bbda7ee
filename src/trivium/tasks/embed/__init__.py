"""Vectors of texts: how they are learned, made, kept on disk, searched and scored."""
