"""The parts of `gnj.testing.StorageContract`."""
