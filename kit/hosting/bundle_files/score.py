"""The scoring program of a challenge."""

import sys

from kit.hosting.scorer import main

sys.exit(main(sys.argv[1:]))
