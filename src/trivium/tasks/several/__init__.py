"""Several tasks learned together, on one stack or in one network that writes."""
