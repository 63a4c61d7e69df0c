"""From a file to a scan: NIfTI, DICOM, sidecars, head, brightness, noise, pixels and units."""
