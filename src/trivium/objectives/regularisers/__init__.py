"""What is learned beside an objective or a task, in training only: each wraps its `counts` and its loss."""
