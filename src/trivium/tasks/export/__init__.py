"""Models of ours, written for other libraries."""
