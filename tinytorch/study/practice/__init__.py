"""What the exercises have in common: how one is described, run, judged, told of, and kept count of."""
