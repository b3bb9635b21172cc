"""Benchmarks: ratios against a floor or a peer, measured in pairs."""
