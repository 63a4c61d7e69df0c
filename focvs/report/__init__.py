"""What a run leaves behind: images, the JSON, figures and printed tables."""
