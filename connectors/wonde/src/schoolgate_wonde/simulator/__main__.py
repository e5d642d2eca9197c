"""``python -m schoolgate_wonde.simulator``."""

import sys

from schoolgate_wonde.simulator.command import main

sys.exit(main(sys.argv[1:]))
