"""A demo of Hydra without MLflow: which of the jobs in a sweep fits a curve best?"""
