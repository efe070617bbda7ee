"""Tasks that answer for a whole text, or pair of texts: a class, any number of labels, a number."""
