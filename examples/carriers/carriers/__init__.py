"""A small model repository: two carriers that have to stand on two plates at once."""
