"""Files as a source: what changes in a directory becomes events.

The kept tree is the truth of what was reported. Notifications only hint at where to look; what is found there, compared with the
kept tree, is what happened. So it does not matter whether a change was notified, or made while nobody listened.
"""
