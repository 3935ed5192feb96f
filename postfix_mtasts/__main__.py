"""`python -m postfix_mtasts`."""

import sys

from .cli.main import main

sys.exit(main())
