"""FOCVS: through-plane super-resolution of head MRI exactly consistent with the scan."""

__version__ = "0.2.0"
