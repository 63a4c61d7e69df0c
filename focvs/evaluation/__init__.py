"""Estimates against the truth: image metrics, lesions, tissues, uncertainty."""
