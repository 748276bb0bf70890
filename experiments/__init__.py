"""The paper's experiments: what each run is (`tables/`), the runs (`python -m experiments run`), their results."""
