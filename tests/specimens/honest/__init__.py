"""Models that hide nothing."""
