"""``python -m schoolgate_bromcom.simulator``."""

import sys

from schoolgate_bromcom.simulator.command import main

sys.exit(main(sys.argv[1:]))
