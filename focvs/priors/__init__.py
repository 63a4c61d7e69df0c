"""The networks: the denoiser contract, 2D and 3D networks, planes, checkpoints and calibration."""
