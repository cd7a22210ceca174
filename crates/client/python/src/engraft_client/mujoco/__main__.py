"""`python -m engraft_client.mujoco`."""

import sys

from engraft_client.mujoco.cli import main

if __name__ == "__main__":
    sys.exit(main())
