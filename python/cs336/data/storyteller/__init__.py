"""Built-in stories: short, simple English, made from a seed, in any amount."""

from __future__ import annotations

from cs336.data.storyteller.generate import StoriesStats, stories, write_stories

__all__ = ["StoriesStats", "stories", "write_stories"]
