"""Pooling, on the numbers of the articles and on a photograph.

python examples/pooling.py --out runs/pooling
"""
