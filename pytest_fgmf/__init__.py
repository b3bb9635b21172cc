"""Pytest plugin of FGMF."""
