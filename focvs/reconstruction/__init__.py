"""A scan, its acquisition and a prior become a volume."""
