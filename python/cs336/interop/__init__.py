"""Tokenizers of other libraries, as objects and folders."""
