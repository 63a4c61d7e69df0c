"""The physics: slice profiles, grids, operators and simulated acquisitions. No networks, no files."""
