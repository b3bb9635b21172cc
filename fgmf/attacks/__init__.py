"""Attacks: what can be named (`catalogue`), and how Foolbox runs it (`foolbox_bridge`)."""
