"""`python -m engraft_client.metaworld`."""

import sys

from engraft_client.metaworld.cli import main

if __name__ == "__main__":
    sys.exit(main())
