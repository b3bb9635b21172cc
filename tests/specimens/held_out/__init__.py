"""Masked models of the held-out mechanisms: whoever writes a detector does not open these files."""
