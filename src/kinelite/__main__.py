"""``python -m kinelite``."""

import sys

from kinelite.cli import main

sys.exit(main())
