"""Attacks: what can be named (`catalogue`), what runs (`plans`), and how (`foolbox_bridge`)."""
