"""``python -m focvs``: the command ``focvs``."""

from focvs.cli import entry

if __name__ == "__main__":
    entry()
