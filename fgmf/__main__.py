"""``python -m fgmf``: the command `fgmf`, for launchers that start modules."""

from __future__ import annotations

from fgmf.cli import main

if __name__ == "__main__":
    main()
