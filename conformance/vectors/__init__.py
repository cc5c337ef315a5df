"""The cases as data: files of bit patterns that any language can read (docs/vectors.md)."""
