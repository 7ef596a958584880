"""Looking after what the catalog points to: links that die, repositories that are archived.

Nothing here runs when the catalog is read: `scripts/links.py` and `scripts/repositories.py` ask
other servers once a week and write down what they saw, with the day, in `catalog/state/`.
"""
