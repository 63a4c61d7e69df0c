from dataclasses import replace

from focvs.priors.intervals import IntervalRow, IntervalTable

ROW = IntervalRow(4.0, 4.0, (1.0, 2.0, 3.0, 4.0), ("some_head",))
ROWS = (ROW, replace(ROW, thickness_mm=6.0, spacing_mm=8.0, factors=(2.0, 4, 6, 8)))
TABLE = IntervalTable("", {"sampler": "resample", "sampler.temperature": 0.25, "adapt": False}, 8, ROWS)
