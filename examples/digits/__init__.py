"""The demo: which of the classifiers in a sweep is the best, and where is it wrong?"""
