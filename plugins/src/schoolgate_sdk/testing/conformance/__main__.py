"""``python -m schoolgate_sdk.testing.conformance NAME [--out certificate.json]``."""

import sys

from schoolgate_sdk.testing.conformance.command import main

sys.exit(main(sys.argv[1:]))
