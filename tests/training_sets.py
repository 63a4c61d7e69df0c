WEIGHTS = {"isotropic": 0.5, "thick": 0.25, "labels": 0.25}
