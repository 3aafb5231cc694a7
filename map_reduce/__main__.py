"""``python -m map_reduce``: the same as the command ``map-reduce``."""

import sys

from map_reduce.cli import main

sys.exit(main())
