import numpy as np

PIXEL = 0.4


def filled_with_zeros(image, axis, part):
    """The magnitude image a scanner makes of ``part`` of k-space, on a ``1 / part`` times larger matrix."""
    kept = np.fft.fftshift(np.fft.fft(image, axis=axis), axes=axis)
    n = image.shape[axis]
    spare = round(n / part) - n
    pad = [(0, 0)] * 3
    pad[axis] = (spare // 2, spare - spare // 2)
    return np.abs(np.fft.ifft(np.fft.ifftshift(np.pad(kept, pad), axes=axis), axis=axis)) / part
