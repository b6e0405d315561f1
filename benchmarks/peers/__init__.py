"""The same layers in convkit and in other engines, each in a process of its own, taking turns."""
