"""Files of any size, read value by value: what imports of content and sources of transformation jobs have in common."""
