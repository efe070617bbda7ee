"""Several tasks learned together, on one stack."""
