"""Reports: one HTML file each that opens anywhere, without a network, light and dark."""
