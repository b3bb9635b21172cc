"""Attacks in plain torch that prove labels; they share no code with `fgmf`."""
