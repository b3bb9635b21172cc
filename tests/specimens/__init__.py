"""Models that are known to mask their gradients, and models that are known not to."""
