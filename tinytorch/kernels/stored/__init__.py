"""Products with weights that stay as they are stored: `stored` is what Python calls."""
