"""The experiments of the write-up: each measures or computes its numbers, and its sentences follow from them."""
