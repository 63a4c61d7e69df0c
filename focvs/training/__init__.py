"""Training: synthetic contrasts, caches, data sets, trainers and fine-tuning on a scan."""
