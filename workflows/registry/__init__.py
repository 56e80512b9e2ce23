"""The registry of models: checks, comparison on frozen tests, and who takes whose place."""
