"""`python -m nrknet` is the `nrknet` command."""

import sys

from nrknet.cli import main

if __name__ == "__main__":
    sys.exit(main())
