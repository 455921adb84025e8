"""Tokenizers and models of other libraries, as objects and folders."""
