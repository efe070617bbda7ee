"""Questions that are answered by a piece of a given text: how they are read, what is answered, and how good that is."""
