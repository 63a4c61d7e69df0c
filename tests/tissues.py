"""Where the boxes of tissue of the tests lie."""

import numpy as np

AFFINE = np.diag([1.2, 1.2, 1.2, 1.0])
