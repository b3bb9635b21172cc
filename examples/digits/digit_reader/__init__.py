"""A small model repository: it reads handwritten digits."""
