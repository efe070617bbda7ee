"""Pretraining: a loop that is a generator, and a run that is exact and can be interrupted anywhere."""
