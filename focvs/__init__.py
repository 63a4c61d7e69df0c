"""FOCVS: through-plane super-resolution of head MRI by sampling a diffusion prior consistent with the scan."""

__version__ = "0.2.0"
