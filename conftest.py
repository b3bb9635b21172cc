"""What holds for every run of the project's own tests and examples, whatever folder is named."""

from __future__ import annotations

import os

# pytester runs the plugin in tests of the plugin; tests/digits_fixtures.py has trained models.
pytest_plugins = ["pytester", "digits_fixtures"]

# Before torch is imported anywhere, in this process and in every one that a test starts: two
# xdist workers with a thread pool each on two cores are slower than two threads.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
