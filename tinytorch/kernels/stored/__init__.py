"""Products with weights that stay in the format in which they are stored: `stored` is what Python calls."""
