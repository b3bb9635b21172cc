"""The command line: the same gate file without pytest.

`application` declares commands and options; `checking`, `preflighting`, `replaying`,
`selftesting` and `starting` carry them out; `exits` says what each exit
code means; `progress` draws bars.
"""

from __future__ import annotations


def main() -> None:
    """Run the command line; the entry point of the console script ``fgmf``."""
    from fgmf.cli.application import application

    application()
