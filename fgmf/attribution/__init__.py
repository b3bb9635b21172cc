"""Explanations: what can be named (`catalogue`), what it gives (`interface`), how (`building`)."""
