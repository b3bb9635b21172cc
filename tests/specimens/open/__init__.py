"""Masked models."""
